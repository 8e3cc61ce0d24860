"""AWQ (Lin et al. 2023): four bits with zeros, in one of the orders that AutoAWQ's kernels wanted.

gemm: qweight [in, out / 8] packed along the output, qzeros [groups, out / 8] likewise, scales [groups, out].
gemv: qweight [out, in / 8] packed along the input, qzeros [out, width], scales [out, 8 width], rows padded to whole words.
Source: AutoAWQ's file layouts.
"""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.quantized.unpack import unpack, unpack_rows
from heron.checkpoint.tensor import Tensor
from heron.errors import UnsupportedError

#: The column, of a word's eight, that each four bits of it hold, the lowest first (gemm).
ORDER = np.array([0, 2, 4, 6, 1, 3, 5, 7])
PLACE = np.argsort(ORDER)


class Awq(Source):
    """What both layouts share."""

    bits = 4

    def __init__(self, parts: Parts, config: Metadata) -> None:
        self.name = parts.stem
        self._words, self._zeros = parts.take("qweight", "I32"), parts.take("qzeros", "I32")
        self._scales = parts.take("scales", *SCALES)
        if len(self._words.shape) != 2:
            raise self._words.error(f"has shape {list(self._words.shape)}, but a matrix is expected")
        bits = config.integer("bits", config.integer("w_bit", 4))
        if bits != 4:
            raise parts.error(f"has {bits} bits by the configuration; AWQ's layouts have 4")
        group = config.integer("group_size", config.integer("q_group_size", 128, minimum=-1), minimum=-1)
        self.half = self._scales.tensor.format.name == "F16"
        self.group = group if group > 0 else self._width()
        if self._width() % self.group:
            raise self._words.error(f"has {self._width()} columns, which are not whole groups of {self.group}")

    @abstractmethod
    def _width(self) -> int:
        """Columns of the matrix, by the words' shape."""


class Gemm(Awq):
    def __init__(self, parts: Parts, config: Metadata) -> None:
        super().__init__(parts, config)
        width, words = self._words.shape
        self.shape = (8 * words, width)
        parts.shaped("qzeros", (width // self.group, words))
        parts.shaped("scales", (width // self.group, 8 * words))

    def _width(self) -> int:
        return self._words.shape[0]

    def _columns(self, words: np.ndarray, start: int, stop: int) -> Codes:
        """Stored [n, out / 8] -> [outputs start..stop, n]."""
        first = start // 8
        codes = unpack(words[:, first : -(-stop // 8)].T, 4).reshape(-1, 8, len(words))
        return codes[:, PLACE].reshape(-1, len(words))[start - 8 * first :][: stop - start]

    def codes(self, start: int, stop: int) -> Codes:
        return self._columns(self._words.words(), start, stop)

    def scales(self, start: int, stop: int) -> Floats:
        return self._scales.columns(start, stop)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        return -scales * self._columns(self._zeros.words(), start, stop).astype(np.float32)


class Gemv(Awq):
    def __init__(self, parts: Parts, config: Metadata) -> None:
        super().__init__(parts, config)
        out, words = self._words.shape
        self.shape, self._groups = (out, 8 * words), 8 * words // self.group
        for part, per_word in ((self._zeros, 8), (self._scales, 1)):
            if len(part.shape) != 2 or part.shape[0] != out or part.shape[1] * per_word < self._groups:
                raise part.error(f"has shape {list(part.shape)}, but {out} rows of at least {self._groups} groups are expected")

    def _width(self) -> int:
        return 8 * self._words.shape[1]

    def codes(self, start: int, stop: int) -> Codes:
        return unpack_rows(self._words.words(start, stop), 4, self.shape[1])

    def scales(self, start: int, stop: int) -> Floats:
        return self._scales.numbers(start, stop)[:, : self._groups]

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        return -scales * unpack_rows(self._zeros.words(start, stop), 4, self._groups).astype(np.float32)


LAYOUTS: dict[str, type[Awq]] = {"gemm": Gemm, "exllama": Gemm, "ipex": Gemm, "gemv": Gemv}


def awq(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    version = config.text("version", "gemm").lower()
    if version not in LAYOUTS:
        raise UnsupportedError(
            f"{config.where}: AWQ files of version {version!r} are repacked for one GPU; use one of {', '.join(LAYOUTS)}"
        )
    return {"weight": Rewritten(LAYOUTS[version](parts, config))}
