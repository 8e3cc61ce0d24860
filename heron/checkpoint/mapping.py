"""A file's bytes: mapped, so that the operating system brings in what is touched, or read when they are asked for."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.tensor import MappedTensor, StoredTensor, Tensor
from heron.errors import CheckpointError
from heron.quant.formats import Format


def map_file(path: Path) -> NDArray[np.uint8]:
    """The file as a read-only array. The mapping lives as long as an array made from it does.

    Raises CheckpointError when the file cannot be opened or is empty.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be opened ({error.strerror or error}); check the path and its permissions") from None
    except ValueError:  # of mmap, for a file without a byte
        raise CheckpointError(f"{path}: the file is empty; download or convert it again") from None
    return np.frombuffer(mapped, np.uint8)


def let_go(data: NDArray[np.uint8], size: int) -> None:
    """Stop counting the first bytes of a mapped file as memory in use, where the system takes that hint; they would be read again."""
    base = data.base
    mapped = base.obj if isinstance(base, memoryview) else base
    whole = size // mmap.PAGESIZE * mmap.PAGESIZE
    if isinstance(mapped, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED") and whole:
        mapped.madvise(mmap.MADV_DONTNEED, 0, whole)


class MappedFile:
    """Tensors that are views of a mapped file."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._data = data

    def tensor(self, start: int, stop: int, shape: tuple[int, ...], format: Format, *, swap: bool = False) -> Tensor:
        """The tensor in bytes start..stop, already checked to be in the file and as many as it needs."""
        return MappedTensor(self._data[start:stop], shape, format, swap=swap)


class ReadFile:
    """Tensors whose rows are read from a file each time they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()

    def tensor(self, start: int, stop: int, shape: tuple[int, ...], format: Format, *, swap: bool = False) -> Tensor:
        """See MappedFile.tensor."""
        return StoredTensor(self._path, start, shape, format, swap=swap)
