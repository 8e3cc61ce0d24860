"""MLX: codes packed along the input, with a scale and a bias for each group: value = scale * code + bias.

Parts: weight uint32 [..., out, in bits / 32], scales and biases [..., out, in / group]. Bits and groups may differ from layer to layer.
Source: mlx-lm's file layout.
"""

from __future__ import annotations

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import SCALES, Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.quantized.unpack import unpack_rows
from heron.checkpoint.tensor import Tensor

BITS = (2, 3, 4, 5, 6, 8)


class Mlx(Source):
    def __init__(self, parts: Parts, config: Metadata) -> None:
        self.name = parts.stem
        own = config.get(parts.stem)
        config = Metadata({**config, **own}, where=config.where) if isinstance(own, dict) else config
        self._words, self._scales = parts.take("weight", "I32"), parts.take("scales", *SCALES)
        self._biases = parts.shaped("biases", self._scales.shape, *SCALES)
        self.bits, self.group = config.integer("bits", 4), config.integer("group_size", 64, minimum=1)
        words, groups = self._words.shape, self._scales.shape
        if self.bits not in BITS or len(words) < 2 or words[:-1] != groups[:-1] or words[-1] * 32 != groups[-1] * self.group * self.bits:
            wanted = f"{self.bits} bits in groups of {self.group}"
            raise self._words.error(
                f"has shape {list(words)}, which with scales {list(groups)} cannot be {wanted}, as the configuration says"
            )
        self.shape = (*words[:-1], groups[-1] * self.group)

    def codes(self, start: int, stop: int) -> Codes:
        return unpack_rows(self._words.words(start, stop), self.bits, self.shape[-1])

    def scales(self, start: int, stop: int) -> Floats:
        return self._scales.numbers(start, stop)

    def minima(self, start: int, stop: int, scales: Floats) -> Floats:
        return self._biases.numbers(start, stop)


def mlx(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    return {"weight": Rewritten(Mlx(parts, config))}
