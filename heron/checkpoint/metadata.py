"""Metadata that came from outside: a dict whose getters check the type of what they return."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import IntEnum
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.strings import Strings
from heron.errors import CheckpointError, UnsupportedError


class ValueType(IntEnum):
    """GGUF's types of metadata values."""

    UINT8, INT8, UINT16, INT16, UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, INT64, FLOAT64 = range(13)


_REQUIRED: Any = object()


class Metadata(dict[str, Any]):
    """GGUF keys (or those of a config.json) and their values.

    Scalars are Python's, arrays of numbers or booleans are numpy arrays of the stored type, arrays of strings are
    lists, or Strings where they have very many. `types` holds what Python's int and float cannot: the stored type of a
    scalar, for writing it again.

    A getter raises CheckpointError when the key is missing (and no default is given) or of another type. None, which
    a config.json may hold, is as good as missing.
    """

    def __init__(self, values: Mapping[str, Any] | None = None, *, where: str = "metadata") -> None:
        """`where` names the source in errors. Types are kept when `values` is itself Metadata."""
        super().__init__(values or {})
        self.where = where
        self.types: dict[str, ValueType] = dict(values.types) if isinstance(values, Metadata) else {}

    def set(self, key: str, value: Any, type: ValueType) -> None:
        """Set a scalar that is to be stored as `type`."""
        self[key] = value
        self.types[key] = type

    def integer(self, key: str, default: Any = _REQUIRED, *, minimum: int | None = 0) -> int:
        value = self._get(key, default)
        if value is not default and not _is_int(value):
            raise self._wrong(key, "an integer")
        if value is not default and minimum is not None and value < minimum:
            raise self._wrong(key, f"an integer of at least {minimum}")
        return value

    def number(self, key: str, default: Any = _REQUIRED) -> float:
        value = self._get(key, default)
        if value is default:
            return value
        if not _is_int(value) and not (isinstance(value, float) and isfinite(value)):
            raise self._wrong(key, "a finite number")
        return float(value)

    def text(self, key: str, default: Any = _REQUIRED) -> str:
        return self._typed(key, default, str, "a string")

    def flag(self, key: str, default: Any = _REQUIRED) -> bool:
        return self._typed(key, default, bool, "a boolean")

    def table(self, key: str, default: Any = _REQUIRED) -> Metadata:
        """An object nested in a config.json, as Metadata."""
        value = self._get(key, default)
        if value is default:
            return value
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return Metadata(value, where=f"{self.where}, {key}")

    def strings(self, key: str, default: Any = _REQUIRED) -> Sequence[str]:
        value = self._get(key, default)
        if value is default or isinstance(value, Strings):
            return value
        # A GGUF array has one type throughout; a JSON list may mix them.
        if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
            raise self._wrong(key, "an array of strings")
        return value

    def integers(self, key: str, default: Any = _REQUIRED) -> NDArray[np.int64]:
        """An array of integers, as int64 (unsigned 64-bit values beyond it wrap)."""
        value = self._get(key, default)
        if value is default:
            return value
        if isinstance(value, list) and all(_is_int(v) and v < 1 << 63 for v in value):
            return np.array(value, np.int64)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iu":
            raise self._wrong(key, "an array of integers")
        return value.astype(np.int64)

    def numbers(self, key: str, default: Any = _REQUIRED) -> NDArray[np.float32]:
        """An array of numbers, as float32."""
        value = self._get(key, default)
        if value is default:
            return value
        if isinstance(value, list) and all(isinstance(v, float) or _is_int(v) for v in value):
            value = np.array(value, np.float64)
        if not isinstance(value, np.ndarray) or value.dtype.kind not in "iuf":
            raise self._wrong(key, "an array of numbers")
        with np.errstate(over="ignore"):
            return value.astype(np.float32)

    def flags(self, key: str, default: Any = _REQUIRED) -> list[bool]:
        """An array of booleans (or of zeros and ones)."""
        value = self._get(key, default)
        if value is default:
            return value
        array = np.asarray(value, np.bool_) if isinstance(value, list) and all(isinstance(v, bool) for v in value) else value
        if not isinstance(array, np.ndarray) or array.dtype.kind not in "biu" or (array > 1).any() or (array < 0).any():
            raise self._wrong(key, "an array of booleans")
        return [bool(v) for v in array]

    def per_layer(self, key: str, layers: int, default: Any = _REQUIRED) -> list[int]:
        """An integer for each layer, stored as one for all or as an array with one for each."""
        value = self._get(key, default)
        if _is_int(value):
            return [self.integer(key, default)] * layers
        if value is default:
            return value
        array = self.integers(key)
        if len(array) != layers or (array < 0).any():
            raise self._wrong(key, f"an integer, or an array of {layers} (one for each layer)")
        return array.tolist()

    def expect(self, key: str, *known: Any) -> None:
        """Raises UnsupportedError where the key has a value other than `known`: those that a family computes."""
        if self.get(key) is not None and self[key] not in known:
            names = " or ".join(map(repr, known))
            raise UnsupportedError(f"{self.where}: {key} {describe(self[key])} is not supported, only {names}")

    def _get(self, key: str, default: Any) -> Any:
        value = self.get(key)
        if value is not None:
            return value
        if default is _REQUIRED:
            raise CheckpointError(f"{self.where}: {key} is missing; the file is incomplete, or not a model of this kind")
        return default

    def _typed(self, key: str, default: Any, kind: type, what: str) -> Any:
        value = self._get(key, default)
        if value is not default and not isinstance(value, kind):
            raise self._wrong(key, what)
        return value

    def _wrong(self, key: str, expected: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: {key} must be {expected}, but is {describe(self[key])}; convert the model again")


def describe(value: Any) -> str:
    """A value in a few words, for messages and tables: never the whole of a vocabulary."""
    if isinstance(value, np.ndarray):
        return f"an array of {len(value)} {value.dtype}"
    if isinstance(value, Strings):
        return f"an array of {len(value)} strings"
    if isinstance(value, list):
        return f"an array of {len(value)} strings" if value and isinstance(value[0], str) else f"a list of {len(value)}"
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _is_int(value: Any) -> bool:
    """Whether it is an integer, and one of 64 bits: a config.json may hold any, which no tensor or float could take."""
    return isinstance(value, int) and not isinstance(value, bool) and -(1 << 63) <= value < 1 << 64
