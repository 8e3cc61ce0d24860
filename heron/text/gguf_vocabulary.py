"""The keys ``tokenizer.ggml.*`` of GGUF metadata, checked: what is wrong is a TokenizerError that names the key.

Source: the GGUF specification, https://github.com/ggml-org/ggml/blob/master/docs/gguf.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.strings import Strings
from heron.errors import TokenizerError, UnsupportedError

KEY = "tokenizer.ggml."


class Kind(IntEnum):
    """Values of ``tokenizer.ggml.token_type``."""

    NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)


@dataclass(frozen=True)
class Defaults:
    """What holds for a ``tokenizer.ggml.model`` when the file does not say."""

    ids: Mapping[str, int]
    add_bos: bool = False
    add_eos: bool = False
    add_sep: bool = False
    add_space_prefix: bool = False


#: Kinds of vocabularies whose tokens are made by a list of merges.
BY_MERGES = ("gpt2", "gemma4")

_MODELS: dict[str, Defaults] = {
    "llama": Defaults({"bos": 1, "eos": 2, "unknown": 0}, add_bos=True, add_space_prefix=True),
    "gpt2": Defaults({}),
    "gemma4": Defaults({}, add_bos=True),
    "bert": Defaults({"cls": 101, "unknown": 100, "seperator": 102, "padding": 0, "mask": 103}, add_bos=True, add_sep=True),
    "t5": Defaults({"eos": 1, "unknown": 2, "padding": 0}, add_eos=True, add_space_prefix=True),
    "rwkv": Defaults({}),
}


@dataclass(frozen=True)
class Usable:
    """Tokens that text may become: those whose place in `mask`, bool [tokens], says so, without the texts that are left out."""

    tokens: Sequence[str]
    mask: NDArray[np.bool_]
    left_out: list[str]

    def ids(self) -> dict[str, int]:
        """Text -> id; of several tokens with one text the first counts."""
        ids = {self.tokens[id]: id for id in np.flatnonzero(self.mask)[::-1].tolist()}
        for text in self.left_out:
            ids.pop(text, None)
        return ids


class GGUFVocabulary:
    """The metadata of one vocabulary, checked."""

    def __init__(self, metadata: Mapping[str, Any]) -> None:
        self.metadata = metadata
        self.model = self.text("model")
        if self.model is None:
            raise TokenizerError(f"{KEY}model is missing; the file has no tokenizer: convert the model again, with its vocabulary")
        if self.model not in _MODELS:
            raise UnsupportedError(f"{KEY}model is {self.model!r}, which cannot be used yet; known are {', '.join(_MODELS)}")
        self.defaults = _MODELS[self.model]
        self.tokens: Sequence[str] = self.strings("tokens")
        kinds = self.numbers("token_type", "iu")
        self._kinds = np.full(len(self.tokens), int(Kind.NORMAL)) if kinds is None else kinds
        self.kinds: list[int] = self._kinds.tolist()
        # An empty text would be found everywhere; some files have such tokens where their source has gaps.
        if not isinstance(self.tokens, Strings) or self.model not in BY_MERGES or self.tokens.find([""]):
            self.tokens = [token or f"[EMPTY_{id}]" for id, token in enumerate(self.tokens)]

    def _get(self, key: str, kind: type, what: str) -> Any:
        value = self.metadata.get(KEY + key)
        if value is not None and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
            raise TokenizerError(f"{KEY}{key} must be {what}, but is of type {type(value).__name__}; convert the model again")
        return value

    def text(self, key: str) -> str | None:
        value: str | None = self._get(key, str, "a string")
        return value

    def flag(self, key: str, default: bool) -> bool:
        value: bool | None = self._get(key, bool, "a boolean")
        return default if value is None else value

    def strings(self, key: str) -> Sequence[str]:
        value = self.metadata.get(KEY + key)
        if value is None:
            raise TokenizerError(f"{KEY}{key} is missing; the file has no usable vocabulary: convert the model again")
        if isinstance(value, Strings):
            return value
        if not isinstance(value, (list, tuple)) or not all(issubclass(kind, str) for kind in set(map(type, value))):
            raise TokenizerError(f"{KEY}{key} must be an array of strings; convert the model again")
        if key == "tokens" and not value:
            raise TokenizerError(f"{KEY}{key} is empty; convert the model again, with its vocabulary")
        return value if isinstance(value, list) else list(value)

    def numbers(self, key: str, kinds: str) -> np.ndarray[Any, Any] | None:
        """An array with one number for each token, or None when there is none. `kinds` are numpy's letters of allowed types."""
        value = self.metadata.get(KEY + key)
        if value is None:
            return None
        array = value if isinstance(value, np.ndarray) else np.array(value) if isinstance(value, (list, tuple)) else None
        if array is None or array.ndim != 1 or array.dtype.kind not in kinds:
            raise TokenizerError(f"{KEY}{key} must be an array of numbers of the right type; convert the model again")
        if len(array) != len(self.tokens):
            raise TokenizerError(f"{KEY}{key} has {len(array)} entries for {len(self.tokens)} tokens; convert the model again")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise TokenizerError(f"{KEY}{key} has entries that are not finite; convert the model again")
        return array

    def charsmap(self) -> bytes:
        """SentencePiece's compiled character map, or nothing."""
        value = self.metadata.get(KEY + "precompiled_charsmap")
        if value is None or isinstance(value, bytes):
            return value or b""
        array = np.asarray(value)
        if array.ndim != 1 or array.dtype.kind not in "iu":
            raise TokenizerError(f"{KEY}precompiled_charsmap must be an array of bytes; convert the model again")
        return array.astype(np.uint8).tobytes()

    def scores(self) -> list[float]:
        array = self.numbers("scores", "fiu")
        if array is None:
            raise TokenizerError(f"{KEY}scores is missing, and a vocabulary of kind {self.model!r} cannot be used without; convert again")
        return array.astype(np.float64).tolist()

    def id(self, name: str) -> int | None:
        """The id under ``{name}_token_id``, or the kind's default. 2**32 - 1 and -1 mean none.

        Raises TokenizerError for other ids outside the vocabulary.
        """
        key = f"{name}_token_id"
        value: int | None = self._get(key, int, "an integer")
        default = self.defaults.ids.get(name)
        if value is None:
            return default if default is not None and default < len(self.tokens) else None
        if value in (-1, 0xFFFFFFFF):
            return None
        if not 0 <= value < len(self.tokens):
            raise TokenizerError(f"{KEY}{key} is {value}, and the vocabulary has {len(self.tokens)} tokens; the file is damaged")
        return value

    def of(self, *kinds: int) -> dict[str, int]:
        """Tokens of these kinds -> ids; of several with one text the first counts."""
        ids = np.flatnonzero(np.isin(self._kinds, kinds))[::-1].tolist()
        return {self.tokens[id]: id for id in ids}

    def among(self, texts: Iterable[str], *kinds: int) -> dict[str, int]:
        """Those of a few texts that are tokens of these kinds -> ids."""
        if not isinstance(self.tokens, Strings):
            tokens = self.of(*kinds)
            return {text: tokens[text] for text in texts if text in tokens}
        return {self.tokens[id]: id for id in reversed(self.tokens.find(texts)) if self.kinds[id] in kinds}

    def usable(self, left_out: Iterable[str]) -> Usable:
        """All tokens but those with these texts."""
        return Usable(self.tokens, np.isin(self._kinds, list(Kind)), list(left_out))
