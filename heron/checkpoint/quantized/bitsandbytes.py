"""bitsandbytes' four bits (Dettmers et al. 2023): a flat run of codes, the even element high; each block's scale is its largest magnitude.

Parts: weight uint8 [n / 2, 1], and under the weight's name absmax, quant_map, quant_state.bitsandbytes__nf4 or __fp4 (JSON). Double
quantized, absmax is bytes that nested_quant_map, nested_absmax and an offset give their values. Its int8 is in scaled.py.
"""

from __future__ import annotations

from math import gcd, prod

import numpy as np

from heron.checkpoint.json_file import parse_object
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.parts import Codes, Floats, Parts
from heron.checkpoint.quantized.rewrite import Rewritten, Source
from heron.checkpoint.tensor import Tensor

KINDS = ("nf4", "fp4")


class FourBits(Source):
    kind = "table"

    def __init__(self, parts: Parts, kind: str) -> None:
        self.name = parts.stem
        state = parts.take(f"weight.quant_state.bitsandbytes__{kind}", "I8")
        where = f"{parts.where}: tensor {state.name!r}"
        described = Metadata(parse_object(state.words().tobytes(), where), where=where)
        self.shape = tuple(int(n) for n in described.integers("shape"))
        self._weight, size = parts.take("weight", "I8"), prod(self.shape)
        self._block = min(described.integer("blocksize", minimum=32), size)
        if len(self.shape) != 2 or min(self.shape) <= 0 or self._weight.tensor.size != -(-size // 2) or self.shape[1] % 2:
            raise self._weight.error(f"has shape {list(self._weight.shape)}, which cannot hold {list(self.shape)} in four bits each")
        self.table = parts.take("weight.quant_map", "F32").numbers().reshape(-1)
        if len(self.table) != 16:
            raise parts.take("weight.quant_map").error(f"has {len(self.table)} values; four bits number 16")
        self._scales = self._all_scales(parts, described, -(-size // self._block))
        # Blocks run on across the ends of rows: of so many elements, each is in one block.
        self.group = gcd(self._block, self.shape[1])

    def _all_scales(self, parts: Parts, described: Metadata, count: int) -> Floats:
        if not parts.has("weight.nested_absmax"):
            return parts.shaped("weight.absmax", (count,), "F32").numbers().reshape(-1)
        numbers = parts.take("weight.nested_quant_map", "F32").numbers().reshape(-1)
        block = min(described.integer("nested_blocksize", minimum=1), count)
        nested = parts.shaped("weight.nested_absmax", (-(-count // block),), "F32").numbers().reshape(-1)
        codes = parts.shaped("weight.absmax", (count,), "I8").words().reshape(-1)
        if len(numbers) != 256:
            raise parts.take("weight.nested_quant_map").error(f"has {len(numbers)} values; bytes number 256")
        return numbers[codes] * nested[np.arange(count) // block] + np.float32(described.number("nested_offset"))

    def codes(self, start: int, stop: int) -> Codes:
        row = self.shape[1] // 2
        pairs = self._weight.tensor.rows().reshape(-1)[start * row : stop * row]
        return np.stack([pairs >> np.uint8(4), pairs & np.uint8(15)], axis=-1).reshape(stop - start, self.shape[1])

    def scales(self, start: int, stop: int) -> Floats:
        first = np.arange(start, stop)[:, None] * self.shape[1] + np.arange(0, self.shape[1], self.group)
        return self._scales[first // self._block]


def four_bits(parts: Parts, config: Metadata) -> dict[str, Tensor]:
    kind = next(kind for kind in KINDS if parts.has(f"weight.quant_state.bitsandbytes__{kind}"))
    return {"weight": Rewritten(FourBits(parts, kind))}
