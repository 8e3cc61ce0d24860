"""Params: a checkpoint's hyperparameters, read by GGUF key with the type that the family expects.

Every key that is read is remembered, so a test can ask whether each of them matters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from heron.errors import CheckpointError

_MISSING: Any = object()


class Params:
    """Typed reading of ``{architecture}.{key}``. Raises CheckpointError where a key is missing or of the wrong type."""

    def __init__(self, metadata: Mapping[str, Any], architecture: str, where: str = "the checkpoint") -> None:
        self.metadata, self.architecture, self.where = metadata, architecture, where
        self.seen: set[str] = set()  #: full keys that were read and were there

    def has(self, key: str) -> bool:
        return self._full(key) in self.metadata

    def _full(self, key: str) -> str:
        return key if key.startswith(("general.", "tokenizer.")) else f"{self.architecture}.{key}"

    def _get(self, key: str, default: Any) -> Any:
        full = self._full(key)
        if full in self.metadata:
            self.seen.add(full)
            return self.metadata[full]
        if default is _MISSING:
            raise CheckpointError(f"{self.where}: the metadata lack {full!r}, which a {self.architecture} model must have")
        return default

    def _wrong(self, key: str, value: Any, wanted: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: metadata key {self._full(key)!r} is {value!r:.60}, not {wanted}")

    def integer(self, key: str, default: Any = _MISSING, least: int = 0) -> int:
        return self._integer(key, self._get(key, default), least)

    def _integer(self, key: str, value: Any, least: int) -> int:
        if isinstance(value, bool) or not hasattr(value, "__index__"):
            raise self._wrong(key, value, "a whole number")
        if not least <= int(value) < 2**31:
            raise self._wrong(key, value, f"between {least} and 2^31")
        return int(value)

    def number(self, key: str, default: Any = _MISSING) -> float:
        value = self._get(key, default)
        if isinstance(value, (bool, str)) or not hasattr(value, "__float__") or not math.isfinite(float(value)):
            raise self._wrong(key, value, "a finite number")
        return float(value)

    def flag(self, key: str, default: Any = _MISSING) -> bool:
        value = self._get(key, default)
        if value not in (True, False):
            raise self._wrong(key, value, "true or false")
        return bool(value)

    def text(self, key: str, default: Any = _MISSING) -> str:
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self._wrong(key, value, "text")
        return value

    def each(self, key: str, layers: int, default: Any = _MISSING) -> tuple[int, ...]:
        """One whole number a layer: an array of that many, or one number for all."""
        value = self._get(key, default)
        items = value.tolist() if hasattr(value, "tolist") else value
        if isinstance(items, (list, tuple)):
            if len(items) != layers:
                raise self._wrong(key, value, f"{layers} values, one a layer")
            return tuple(int(v) if isinstance(v, bool) else self._integer(key, v, 0) for v in items)
        return (self._integer(key, value, 0),) * layers

    def numbers(self, key: str, layers: int, default: float) -> tuple[float, ...]:
        """One finite number a layer: an array of that many, or one for all."""
        value = self._get(key, default)
        items = value.tolist() if hasattr(value, "tolist") else value
        if not isinstance(items, (list, tuple)):
            return (self.number(key, default),) * layers
        if len(items) != layers or not all(isinstance(v, (int, float)) and math.isfinite(v) for v in items):
            raise self._wrong(key, value, f"{layers} finite numbers, one a layer")
        return tuple(map(float, items))

    def pattern(self, key: str, layers: int, period: int, first: bool = False) -> tuple[bool, ...]:
        """One truth a layer, stored so or as a period n: True for all but the last (or ``first``) of each n layers (0: for all)."""
        value = self._get(key, period)
        if hasattr(value, "__index__") and not getattr(value, "ndim", 0):
            n = self._integer(key, value, 0)
            return tuple(n == 0 or (i + (not first)) % n != 0 for i in range(layers))
        return tuple(map(bool, self.each(key, layers)))

    # What nearly every family reads

    @property
    def layers(self) -> int:
        return self.integer("block_count", least=1)

    @property
    def hidden(self) -> int:
        return self.integer("embedding_length", least=1)

    @property
    def rms_eps(self) -> float:
        return self.number("attention.layer_norm_rms_epsilon")

    @property
    def context_length(self) -> int:
        return self.integer("context_length", least=1)
