"""Text to token ids and back, for every kind of vocabulary that GGUF files and HF folders hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from heron.checkpoint.checkpoint import Checkpoint, locate
from heron.checkpoint.gguf import read_gguf
from heron.errors import RequestError
from heron.text.gguf import gguf_parts
from heron.text.guard import SpecialGuard
from heron.text.huggingface import folder_parts
from heron.text.parts import Parts


class Tokenizer:
    """A model's vocabulary, and the way it cuts text. Nothing in it changes after it is made, so threads may share it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._piece = lru_cache(maxsize=None)(parts.piece)
        self.vocab_size: int = len(parts.tokens)
        self.bos: int | None = parts.bos
        self.eos: int | None = parts.eos
        self.eos_ids: frozenset[int] = parts.ends | ({parts.eos} if parts.eos is not None else frozenset())
        self.chat_template: str | None = parts.chat_template
        self.chat_templates: Mapping[str, str] = parts.templates
        self.named_tokens: Mapping[str, str] = parts.named
        self.prefix: list[int] = parts.prefix
        self.suffix: list[int] = parts.suffix
        self.strip_space: bool = parts.strip_space

    @staticmethod
    def from_metadata(metadata: Mapping[str, Any]) -> Tokenizer:
        """From the ``tokenizer.*`` keys of a GGUF file. Raises TokenizerError, UnsupportedError."""
        return Tokenizer(gguf_parts(metadata))

    @staticmethod
    def from_folder(folder: str | Path) -> Tokenizer:
        """From ``tokenizer.json``, or else ``tokenizer.model``, and the files beside it. Raises TokenizerError, UnsupportedError."""
        return Tokenizer(folder_parts(Path(folder)))

    @staticmethod
    def from_file(path: str | Path) -> Tokenizer:
        """From a GGUF file, a HF folder, or a ``tokenizer.json`` or ``tokenizer.model``.

        Raises TokenizerError and UnsupportedError, and CheckpointError for a GGUF file that is damaged.
        """
        path = Path(path)
        if path.is_dir() and not any(path.glob("*.gguf")):
            return Tokenizer.from_folder(path)
        if path.name in ("tokenizer.json", "tokenizer.model") or path.suffix == ".model":
            return Tokenizer(folder_parts(path.parent, path.name))
        found = locate(path)
        return Tokenizer.from_folder(found) if found.is_dir() else Tokenizer.from_metadata(read_gguf(found)[0])

    @staticmethod
    def from_checkpoint(checkpoint: Checkpoint) -> Tokenizer:
        """The tokenizer of an opened model. Raises TokenizerError, UnsupportedError."""
        return Tokenizer.from_folder(locate(checkpoint.path)) if checkpoint.source == "hf" else Tokenizer.from_metadata(checkpoint.metadata)

    def encode(self, text: str, add_special: bool = True, parse_special: bool = False, *, guard: str = "") -> list[int]:
        """Token ids of `text`.

        add_special    put the BOS, EOS or separator tokens around it that the model wants
        parse_special  find special tokens in the text; otherwise what looks like one is text
        guard          a character that keeps the special tokens it stands in from being found, and is taken out of the text

        Raises RequestError for text that is not valid Unicode.
        """
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise RequestError(f"the text has a lone surrogate at character {error.start}; send valid Unicode") from None
        ids = self._parts.encoder.encode(text, parse_special, guard) if text else []
        return [*self.prefix, *ids, *self.suffix] if add_special else ids

    def decode(self, ids: Iterable[int], skip_special: bool = False) -> str:
        """The text of `ids`; bytes that are not UTF-8 become U+FFFD. Raises RequestError for an id outside the vocabulary."""
        data = b"".join(self.token_bytes(id) for id in ids if not (skip_special and self.is_special(id)))
        return (data[1:] if self.strip_space and data.startswith(b" ") else data).decode("utf-8", "replace")

    def token_bytes(self, id: int) -> bytes:
        """What a token adds to decoded text. Raises RequestError for an id outside the vocabulary."""
        return self._piece(self._checked(id))

    def token(self, id: int) -> str:
        """A token's text, as its file spells it. Raises RequestError for an id outside the vocabulary."""
        return self._parts.tokens[self._checked(id)]

    def id(self, token: str) -> int | None:
        """The id of the token that is spelled so, or None."""
        return self._ids.get(token)

    def agrees_with(self, other: Tokenizer) -> bool:
        """Whether ids mean the same: the shorter of the two vocabularies begins the longer one, which may be filled up."""
        shorter, longer = sorted((self._parts.tokens, other._parts.tokens), key=len)
        return longer[: len(shorter)] == shorter

    def is_special(self, id: int) -> bool:
        """Whether it is a control token. Raises RequestError for an id outside the vocabulary."""
        return self._checked(id) in self._parts.special

    @property
    def special_tokens(self) -> list[str]:
        """The texts of all control tokens."""
        return [self._parts.tokens[id] for id in sorted(self._parts.special)]

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Each text's id; of several tokens with one text the first counts."""
        return dict(zip(reversed(self._parts.tokens), range(self.vocab_size - 1, -1, -1), strict=True))

    @cached_property
    def special_guard(self) -> SpecialGuard:
        """Finds in text what would be a special token."""
        return SpecialGuard(self.special_tokens)

    def _checked(self, id: int) -> int:
        if not 0 <= id < self.vocab_size:
            raise RequestError(f"token id {id} is outside the vocabulary of {self.vocab_size} tokens")
        return id
