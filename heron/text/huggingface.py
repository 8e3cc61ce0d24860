"""A tokenizer from the files of a HF folder: ``tokenizer.json`` or ``tokenizer.model``, and what stands beside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tokenizers import AddedToken

from heron.errors import TokenizerError
from heron.text.ends import end_tokens
from heron.text.gguf_vocabulary import Kind
from heron.text.library import LibraryEncoder, decoded_pieces, load_library
from heron.text.parts import Partition, Parts
from heron.text.sentencepiece import SPACE, Preparation, ScoredMerges, SentencePiece, Unigram
from heron.text.sentencepiece_model import BPE, SentencePieceModel, read_sentencepiece

_NAMES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


def folder_parts(folder: Path, name: str | None = None) -> Parts:
    """The parts of a folder's tokenizer. `name` picks one of its files; otherwise it is tokenizer.json, or else tokenizer.model.

    Raises TokenizerError for a missing or damaged file, UnsupportedError for what Heron cannot do yet.
    """
    names = [name] if name else ["tokenizer.json", "tokenizer.model"]
    path = next((folder / name for name in names if (folder / name).is_file()), None)
    if path is None:
        raise TokenizerError(f"{folder}: there is no {' or '.join(names)}; download the model's tokenizer too")
    settings = Settings(folder)
    parts = _json_parts(path, settings) if path.suffix == ".json" else _model_parts(path, settings)
    ids = {token: id for id, token in reversed(list(enumerate(parts.tokens)))}
    control = {parts.tokens[id] for id in parts.special}
    parts.named = {**parts.named, **settings.named}
    parts.bos, parts.eos = (
        ids.get(parts.named.get(key, ""), fallback) for key, fallback in (("bos_token", parts.bos), ("eos_token", parts.eos))
    )
    listed = [id for id in settings.end_ids if id < len(parts.tokens)]
    parts.eos = parts.eos if parts.eos is not None or not listed else listed[0]
    parts.ends = frozenset(listed) | {ids[text] for text in end_tokens(control, ids.keys() & {t.content for t in settings.added.values()})}
    if settings.adds_ends is not None:
        wanted_bos, wanted_eos = settings.adds_ends
        parts.prefix = [parts.bos] if wanted_bos and parts.bos is not None else []
        parts.suffix = [parts.eos] if wanted_eos and parts.eos is not None else []
    parts.chat_template, parts.templates = settings.chat_templates()
    return parts


class Settings:
    """tokenizer_config.json, special_tokens_map.json, added_tokens.json, generation_config.json and chat_template.jinja."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.config = _object(folder / "tokenizer_config.json")
        names = {**_object(folder / "special_tokens_map.json"), **self.config}
        self.named = {key: text for key in _NAMES if (text := _content(names.get(key)))}
        added = self.config.get("added_tokens_decoder") or {}
        plain = {id: {"content": text} for text, id in _object(folder / "added_tokens.json").items()}
        try:
            self.added = {int(id): _added_token(entry) for id, entry in {**plain, **added}.items()}
        except (TypeError, ValueError, KeyError, AttributeError):
            raise TokenizerError(
                f"{folder}: the added tokens in tokenizer_config.json or added_tokens.json are damaged; download them again"
            ) from None
        explicit = [self.config.get(key) for key in ("add_bos_token", "add_eos_token")]
        self.adds_ends = (bool(explicit[0]), bool(explicit[1])) if any(isinstance(flag, bool) for flag in explicit) else None
        ends = _object(folder / "generation_config.json").get("eos_token_id")
        ends = _object(folder / "config.json").get("eos_token_id") if ends is None else ends
        self.end_ids = [id for id in (ends if isinstance(ends, list) else [ends]) if isinstance(id, int) and id >= 0]

    def chat_templates(self) -> tuple[str | None, dict[str, str]]:
        """(the default template, those with names)."""
        named: dict[str, str] = {}
        listed = self.config.get("chat_template")
        if isinstance(listed, list):
            named = {str(entry.get("name")): str(entry.get("template")) for entry in listed if isinstance(entry, dict)}
            listed = named.pop("default", None)
        for path in (self.folder / "additional_chat_templates").glob("*.jinja"):
            named[path.stem] = _text(path)
        path = self.folder / "chat_template.jinja"
        default = _text(path) if path.is_file() else listed or _object(self.folder / "chat_template.json").get("chat_template")
        return (default if isinstance(default, str) else None), named


def _json_parts(path: Path, settings: Settings) -> Parts:
    text = _text(path)
    library = load_library(text, str(path), settings.added)
    present = [token for token in settings.named.values() if library.token_to_id(token) is not None]
    library.add_special_tokens(present)
    vocabulary = library.get_vocab(with_added_tokens=True)
    if not vocabulary:
        raise TokenizerError(f"{path}: its vocabulary is empty; download it again")
    tokens = [""] * (max(vocabulary.values()) + 1)
    for token, id in vocabulary.items():
        tokens[id] = token
    described = json.loads(text)
    piece, strip = decoded_pieces(library, tokens, described.get("decoder"), str(path))
    special = {id for id, token in library.get_added_tokens_decoder().items() if token.special}
    bare, full = (library.encode("a", add_special_tokens=flag).ids for flag in (False, True))
    at = next((at for at in range(len(full) - len(bare) + 1) if full[at : at + len(bare)] == bare), 0)
    return Parts(
        tokens,
        piece,
        frozenset(special),
        LibraryEncoder(library, described.get("pre_tokenizer")),
        full[:at],
        full[at + len(bare) :],
        strip,
    )


def _model_parts(path: Path, settings: Settings) -> Parts:
    model = read_sentencepiece(path.read_bytes(), str(path))
    tokens, kinds = list(model.tokens), list(model.kinds)
    for id, token in sorted(settings.added.items()):
        if id >= len(tokens):
            tokens += [""] * (id + 1 - len(tokens))
            kinds += [Kind.UNUSED] * (id + 1 - len(kinds))
            tokens[id] = token.content
        if tokens[id] == token.content:
            kinds[id] = Kind.CONTROL if token.special else kinds[id] if id < len(model.tokens) else Kind.USER_DEFINED
    special = {token: id for id, token in enumerate(tokens) if kinds[id] in (Kind.CONTROL, Kind.UNKNOWN)}
    defined = {token: id for id, token in enumerate(tokens) if id >= len(model.tokens) and token and token not in special}
    ids = {name: id if 0 <= id < len(tokens) else None for name, id in (("bos", model.bos), ("eos", model.eos), ("pad", model.pad))}
    is_bpe = model.algorithm == BPE
    return Parts(
        tokens=tokens,
        piece=lambda id: _piece(tokens[id], kinds[id]),
        special=frozenset(special.values()),
        encoder=Partition(_sentencepiece(model, special), special, defined),
        prefix=[ids["bos"]] if is_bpe and ids["bos"] is not None else [],
        suffix=[ids["eos"]] if not is_bpe and ids["eos"] is not None else [],
        strip_space=model.add_prefix,
        bos=ids["bos"],
        eos=ids["eos"],
        named={f"{name}_token": tokens[id] for name, id in {**ids, "unk": model.unknown}.items() if id is not None},
    )


def _sentencepiece(model: SentencePieceModel, special: Mapping[str, int]) -> SentencePiece:
    rows = list(zip(model.tokens, model.scores, model.kinds, strict=True))
    bytes_ = {token: id for id, (token, _, kind) in enumerate(rows) if kind == Kind.BYTE}
    fallback = [bytes_[f"<0x{value:02X}>"] for value in range(256)] if len(bytes_) == 256 else []
    frozen = {
        token.replace(SPACE, " "): id for id, (token, _, kind) in enumerate(rows) if kind == Kind.USER_DEFINED and token not in special
    }
    preparation = Preparation(model.charsmap, model.add_prefix, prefix_once=True, merge_spaces=model.merge_spaces, frozen=frozen)
    usable = {Kind.NORMAL, Kind.UNUSED}
    if model.algorithm == BPE:
        scores = {token: (id, score) for id, (token, score, kind) in enumerate(rows) if kind in usable}
        unused = [id for id, (_, _, kind) in enumerate(rows) if kind == Kind.UNUSED]
        return SentencePiece(ScoredMerges(scores, unused, model.unknown, fallback), preparation)
    # Unlike those of BPE, unused pieces of a unigram model are never found.
    pieces = [(token if kind == Kind.NORMAL else "", score) for token, score, kind in rows]
    return SentencePiece(Unigram(pieces, model.unknown, fallback), preparation)


def _piece(token: str, kind: int) -> bytes:
    if kind == Kind.BYTE:
        return bytes([int(token[3:5], 16)])
    return (token if kind in (Kind.CONTROL, Kind.UNKNOWN) else token.replace(SPACE, " ")).encode()


def _added_token(entry: Mapping[str, Any]) -> AddedToken:
    flags = {key: bool(entry.get(key, False)) for key in ("single_word", "lstrip", "rstrip", "normalized", "special")}
    return AddedToken(entry["content"], **flags)


def _content(value: Any) -> str | None:
    """The text of a token that is given as such, or as an object that has it."""
    value = value.get("content") if isinstance(value, dict) else value
    return value if isinstance(value, str) else None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TokenizerError(f"{path}: cannot be read as text ({error}); download it again") from None


def _object(path: Path) -> dict[str, Any]:
    """The JSON object in a file; an absent file is an empty one."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"{path}: not JSON ({error}); download it again") from None
    if not isinstance(value, dict):
        raise TokenizerError(f"{path}: a JSON object is expected; download it again")
    return value
