"""A ``tokenizer.json``, run by the library whose format it is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

from tokenizers import AddedToken
from tokenizers import Tokenizer as Library

from heron.errors import TokenizerError, UnsupportedError
from heron.text.bpe import spelled_bytes
from heron.text.parts import find_tokens
from heron.text.sentencepiece import SPACE

_BYTE_TOKEN = re.compile("<0x([0-9A-Fa-f]{2})>")


class LibraryEncoder:
    """Encodes with the library, special tokens found or not. One text at a time: which of both is a setting of the library's object."""

    def __init__(self, library: Library, pre_tokenizer: Any) -> None:
        """`pre_tokenizer` is what the file has under that name."""
        self._library, self._lock = library, Lock()
        added = library.get_added_tokens_decoder()
        self._special = {token.content: token for token in added.values() if token.special}
        self._ids = {token.content: id for id, token in added.items()}
        self._finder = find_tokens(self._special)
        # Some put a space before the first word of a prompt only: with this, text behind a special token is not taken for a beginning.
        self._first = library.pre_tokenizer
        self._later = _without_first_space(pre_tokenizer)

    def encode(self, text: str, parse_special: bool, guard: str = "") -> list[int]:
        """See parts.Encoder."""
        if not guard or not parse_special:
            return self._run(text.replace(guard, "") if guard else text, parse_special)
        ids: list[int] = []
        parts = self._finder.split(text) if self._finder else [text]
        for index, part in enumerate(parts):
            if index % 2:
                ids.append(self._ids[part])
                continue
            before, after = (self._special[parts[i]] if 0 <= i < len(parts) else None for i in (index - 1, index + 1))
            part = part.lstrip() if before and before.rstrip else part
            part = part.rstrip() if after and after.lstrip else part
            if part:
                ids += self._run(part.replace(guard, ""), parse_special=False, first=index == 0)
        return ids

    def _run(self, text: str, parse_special: bool, first: bool = True) -> list[int]:
        with self._lock:
            self._library.encode_special_tokens = not parse_special
            if self._later is not None:
                self._library.pre_tokenizer = self._first if first else self._later
            ids: list[int] = self._library.encode(text, add_special_tokens=False).ids
            return ids


def _without_first_space(pre_tokenizer: Any) -> Any:
    """The pre-tokenizer with "first" made "never" in it, or None where nothing says "first"."""
    settings = json.dumps(pre_tokenizer)
    if '"prepend_scheme": "first"' not in settings:
        return None
    bare = {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {}, "unk_token": ""}}
    changed = json.loads(settings.replace('"prepend_scheme": "first"', '"prepend_scheme": "never"'))
    return Library.from_str(json.dumps({**bare, "pre_tokenizer": changed})).pre_tokenizer


def load_library(text: str, where: str, added: Mapping[int, AddedToken]) -> Library:
    """The library's object for the text of a tokenizer.json, with further added tokens. Raises TokenizerError."""
    try:
        library = Library.from_str(text)
    except Exception as error:
        raise TokenizerError(f"{where}: not a tokenizer that the tokenizers library can read ({str(error)[:200]})") from None
    library.no_truncation()
    library.no_padding()
    known = library.get_added_tokens_decoder()
    for id, token in sorted(added.items()):
        if id not in known and library.token_to_id(token.content) in (None, id):
            (library.add_special_tokens if token.special else library.add_tokens)([token])
    return library


def decoded_pieces(library: Library, tokens: list[str], decoder: Any, where: str) -> tuple[Callable[[int], bytes], bool]:
    """(an id's bytes, whether decoded text loses a leading space), as the steps under "decoder" have it.

    Raises UnsupportedError for steps that Heron cannot do token by token.
    """
    steps = decoder.get("decoders", [decoder]) if isinstance(decoder, dict) else []
    by_type = {step.get("type"): step for step in steps if isinstance(step, dict)}
    unknown = by_type.keys() - {"ByteLevel", "WordPiece", "Metaspace", "Replace", "ByteFallback", "Fuse", "Strip"}
    if unknown:
        raise UnsupportedError(f"{where}: its decoder has the step {sorted(map(str, unknown))[0]!r}, which cannot be used yet")
    added = library.get_added_tokens_decoder()
    spaced = "Metaspace" in by_type or by_type.get("Replace", {}).get("pattern") == {"String": SPACE}
    subword = by_type.get("WordPiece", {}).get("prefix", "##")

    def piece(id: int) -> bytes:
        token = tokens[id]
        if not token:
            return b""
        byte = _BYTE_TOKEN.fullmatch(token) if "ByteFallback" in by_type else None
        if byte:
            return bytes([int(byte[1], 16)])
        if id in added:
            return (token.replace(SPACE, " ") if spaced and not added[id].special else token).encode()
        if "ByteLevel" in by_type:
            return spelled_bytes(token)
        if "WordPiece" in by_type:
            return (token.removeprefix(subword) if token.startswith(subword) else f" {token}").encode()
        # Without a decoder the library puts a space between tokens.
        return (token.replace(SPACE, " ") if spaced else token if by_type else f" {token}").encode()

    strip = by_type.get("Strip", {}).get("start", 0) > 0 or "WordPiece" in by_type or not by_type
    strip = strip or ("Metaspace" in by_type and by_type["Metaspace"].get("prepend_scheme", "always") != "never")
    return piece, strip
