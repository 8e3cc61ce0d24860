"""Arrays of strings with hundreds of thousands of entries, which become Python's strings when they are looked at."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from heron.compiled import core

#: Arrays with fewer strings are lists.
MANY = 1000


class Strings(Sequence[str]):
    """Reads like a list. The strings stay together as the bytes that they were in the file, in a third of the memory."""

    def __init__(self, stored: Any) -> None:
        """`stored` is the core's (csrc/vocabulary.h)."""
        self.stored = stored

    @staticmethod
    def read(data: NDArray[np.uint8], at: int, count: int, big_endian: bool) -> Strings | None:
        """The array of `count` strings at byte `at` of a GGUF file; None where it is damaged or small, or no core is compiled."""
        stored = core.Strings.read(data, at, count, big_endian) if core and count >= MANY else None
        return None if stored is None else Strings(stored)

    def __len__(self) -> int:
        return len(self.stored)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self.stored[i] for i in range(*index.indices(len(self)))]
        text: str = self.stored[index + len(self) if index < 0 else index]
        return text

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored.all())

    def __eq__(self, other: object) -> bool:
        return list(self) == list(other) if isinstance(other, (Strings, list)) else NotImplemented

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Strings({len(self)})"

    def find(self, texts: Iterable[str]) -> list[int]:
        """The indexes, in order, at which any of these texts stands."""
        found: list[int] = self.stored.find(list(texts))
        return found

    @property
    def stored_bytes(self) -> int:
        """Bytes that they take in the file, lengths included."""
        count: int = self.stored.stored_bytes
        return count
