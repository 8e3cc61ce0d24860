"""Importance matrices: of each matrix of a model, the mean square of what each of its columns multiplies.

Files are GGUF as llama.cpp's ``llama-imatrix`` writes them (``general.type`` is ``imatrix``; of each matrix the tensors ``NAME.in_sum2``
[experts, in] and ``NAME.counts`` [experts, 1]), and, for reading, its older binary form: a count of entries, then of each the length of
its name, the name, how many calls, how many values, and the values, all little-endian.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.gguf import read_gguf
from heron.checkpoint.gguf_header import MAGIC
from heron.checkpoint.gguf_writer import write_gguf
from heron.errors import CheckpointError

SUMS, COUNTS = ".in_sum2", ".counts"


@dataclass
class Sums:
    """Of one matrix: ``squares`` f64 [experts, in], the sums of the squares of its inputs' columns; ``rows`` f64 [experts]."""

    squares: NDArray[np.float64]
    rows: NDArray[np.float64]

    @property
    def means(self) -> NDArray[np.float32]:
        """f32 [experts, in]. Experts that no token chose weigh all columns alike."""
        means = self.squares / np.maximum(self.rows, 1)[:, None]
        means[self.rows == 0] = 1
        return means.astype(np.float32)


@dataclass
class ImportanceMatrix:
    """Sums by the canonical names of matrices, and what texts they were taken from, in ``chunks`` of ``chunk_size`` tokens."""

    sums: dict[str, Sums] = field(default_factory=dict)
    datasets: list[str] = field(default_factory=list)
    chunks: int = 0
    chunk_size: int = 0

    def add(self, name: str, squares: NDArray[Any], rows: NDArray[Any]) -> None:
        """Take up a step's: [in] or [experts, in], and [1] or [experts]."""
        squares, rows = np.atleast_2d(squares).astype(np.float64), np.asarray(rows, np.float64)
        held = self.sums.setdefault(name, Sums(np.zeros_like(squares), np.zeros_like(rows)))
        held.squares += squares
        held.rows += rows

    def of(self, name: str, shape: tuple[int, ...]) -> NDArray[np.float32] | None:
        """f32 [matrices, in] of the tensor of this shape, [out, in] or [experts, out, in]; None where nothing is known of it.

        Raises CheckpointError where it was taken from a matrix of another shape.
        """
        held = self.sums.get(name)
        if held is None:
            return None
        matrices = shape[0] if len(shape) == 3 else 1
        if held.squares.shape == (1, matrices * shape[-1]):  # the older form has experts one behind the other
            held = Sums(held.squares.reshape(matrices, -1), np.repeat(held.rows, matrices))
        if held.squares.shape[1] != shape[-1] or len(held.squares) not in (1, matrices):
            have = list(held.squares.shape)
            raise CheckpointError(f"the importance matrix has {have} for {name!r} of shape {list(shape)}; it is another model's")
        return np.broadcast_to(held.means, (matrices, shape[-1]))


def write_imatrix(path: str | Path, matrix: ImportanceMatrix) -> None:
    """Write the file; it appears under its name when it is complete."""
    metadata: dict[str, Any] = {
        "general.type": "imatrix",
        "imatrix.datasets": list(matrix.datasets),
        "imatrix.chunk_count": matrix.chunks,
        "imatrix.chunk_size": matrix.chunk_size,
    }
    tensors = {}
    for name, sums in sorted(matrix.sums.items()):
        tensors[name + SUMS] = sums.squares.astype(np.float32)
        tensors[name + COUNTS] = sums.rows.astype(np.float32)[:, None]
    write_gguf(path, metadata, tensors)


def read_imatrix(path: str | Path) -> ImportanceMatrix:
    """Read a file of either form. Raises CheckpointError for one that is damaged, or is none."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            begin = file.read(len(MAGIC))
    except OSError as error:
        raise CheckpointError(f"{path}: the importance matrix cannot be read: {error.strerror}") from None
    matrix = _read_gguf(path) if begin == MAGIC else _read_legacy(path)
    if not matrix.sums:
        raise CheckpointError(f"{path}: the importance matrix is empty")
    for name, sums in matrix.sums.items():
        if not (np.isfinite(sums.squares).all() and np.isfinite(sums.rows).all()) or (sums.squares < 0).any() or (sums.rows < 0).any():
            raise CheckpointError(f"{path}: what the importance matrix holds for {name!r} is negative or not finite; make it again")
    return matrix


def _read_gguf(path: Path) -> ImportanceMatrix:
    metadata, tensors, _ = read_gguf(path)
    if metadata.text("general.type", "") != "imatrix":
        raise CheckpointError(f"{path}: this GGUF file is no importance matrix; make one with: heron imatrix MODEL TEXT")
    matrix = ImportanceMatrix(
        datasets=list(metadata.strings("imatrix.datasets", [])),
        chunks=metadata.integer("imatrix.chunk_count", 0),
        chunk_size=metadata.integer("imatrix.chunk_size", 0),
    )
    for full in (name for name in tensors if name.endswith(SUMS)):
        name = full.removesuffix(SUMS)
        squares, counts = tensors[full], tensors.get(name + COUNTS)
        if counts is None or len(squares.shape) not in (1, 2) or counts.size != (squares.shape[0] if len(squares.shape) == 2 else 1):
            raise CheckpointError(f"{path}: {full!r} has no {COUNTS} that fit its shape {list(squares.shape)}; the file is damaged")
        matrix.sums[name] = Sums(np.atleast_2d(squares.numpy().astype(np.float64)), counts.numpy().astype(np.float64).reshape(-1))
    return matrix


def _read_legacy(path: Path) -> ImportanceMatrix:
    data = path.read_bytes()
    at, sums = 4, {}

    def integer() -> int:
        nonlocal at
        at += 4
        return int(struct.unpack_from("<i", data, at - 4)[0])

    try:
        for _ in range(struct.unpack_from("<i", data)[0]):
            length = integer()
            name = data[at : at + length].decode()
            at += length
            calls, count = integer(), integer()
            values = np.frombuffer(data, "<f4", count, at).astype(np.float64)
            at += 4 * count
            if length < 1 or calls < 0 or count < 1:
                raise ValueError
            sums[name] = Sums(values[None], np.full(1, max(1, calls), np.float64))
    except (struct.error, ValueError):
        raise CheckpointError(f"{path}: not an importance matrix, or a damaged one; make one with: heron imatrix MODEL TEXT") from None
    return ImportanceMatrix(sums=sums)
