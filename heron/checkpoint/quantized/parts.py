"""The stored tensors that make up one quantized matrix, checked as they are taken and as they are read."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError
from heron.quant.decode_own import E8M0
from heron.quant.dequantize import dequantize

Floats = NDArray[np.float32]
Codes = NDArray[np.uint8]

NOT_FINITE = "holds a scale that is not finite; the file is damaged: download it again"

#: Formats that scales are stored in.
SCALES = ("F16", "BF16", "F32")

#: Words that codes are packed into, unsigned.
_UNSIGNED = {1: np.uint8, 2: np.uint16, 4: np.uint32, 8: np.uint64}


@dataclass(frozen=True)
class Part:
    """A stored tensor, with its name and the file or folder that it is in, for messages."""

    name: str
    tensor: Tensor
    where: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: tensor {self.name!r} {problem}")

    def words(self, start: int = 0, stop: int | None = None) -> NDArray[np.unsignedinteger]:
        """Rows start..stop as they are stored, their bits taken for unsigned integers: [rows, row length]."""
        rows = np.ascontiguousarray(self.tensor.rows(start, stop))
        return rows.view(np.dtype(_UNSIGNED[self.tensor.format.bytes]).newbyteorder("<"))

    def numbers(self, start: int = 0, stop: int | None = None) -> Floats:
        """Rows start..stop decoded: float32 [rows, row length]. Raises CheckpointError where one is not finite."""
        return self._finite(dequantize(self.tensor.format, self.tensor.rows(start, stop)))

    def columns(self, start: int, stop: int) -> Floats:
        """The numbers in columns start..stop of all rows, transposed: [columns, rows]. Raises as ``numbers``."""
        stored = np.ascontiguousarray(self.words()[:, start:stop].T)
        return self._finite(dequantize(self.tensor.format, stored.view(np.uint8)))

    def _finite(self, values: Floats) -> Floats:
        if not np.isfinite(values).all():
            raise self.error(NOT_FINITE)
        return values

    def powers(self, start: int = 0, stop: int | None = None) -> Floats:
        """As ``numbers``; bytes are exponents of two (E8M0)."""
        if self.tensor.format.name != "I8":
            return self.numbers(start, stop)
        return self._finite(E8M0[self.words(start, stop)])

    def number(self) -> np.float32:
        """The only number of a tensor of one."""
        if self.tensor.size != 1:
            raise self.error(f"has shape {list(self.shape)}, but one number is expected")
        return np.float32(self.numbers().reshape(-1)[0])


@dataclass
class Parts:
    """What is stored under ``stem``: ``{stem}.{suffix}`` for several suffixes. Taking a part notes its name in ``taken``."""

    where: str
    stem: str
    tensors: dict[str, Tensor]
    taken: set[str] = field(default_factory=set)

    def has(self, suffix: str) -> bool:
        return f"{self.stem}.{suffix}" in self.tensors

    def take(self, suffix: str, *formats: str) -> Part:
        """Raises CheckpointError where the part is missing or, if ``formats`` are given, of none of them."""
        name = f"{self.stem}.{suffix}"
        tensor = self.tensors.get(name)
        if tensor is None:
            raise CheckpointError(f"{self.where}: tensor {name!r} is missing, which the quantized {self.stem!r} needs; download it again")
        part = Part(name, tensor, self.where)
        if formats and tensor.format.name not in formats:
            raise part.error(f"is {tensor.format}, but {' or '.join(formats)} is expected")
        self.taken.add(name)
        return part

    def shaped(self, suffix: str, shape: tuple[int, ...], *formats: str) -> Part:
        """As ``take``. Raises CheckpointError too where the shape is another."""
        part = self.take(suffix, *formats)
        if part.shape != shape:
            raise part.error(f"has shape {list(part.shape)}, but {list(shape)} is expected beside the others of {self.stem!r}")
        return part

    def maybe(self, suffix: str, *formats: str) -> Part | None:
        return self.take(suffix, *formats) if self.has(suffix) else None

    def error(self, problem: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: the quantized {self.stem!r} {problem}")
