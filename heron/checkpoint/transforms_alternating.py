"""Experts whose gate and up rows alternate in HF's tensors, plain or in MXFP4 (see transforms.py)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.transforms import Renames, Tensors, Transform, matching, merge_grouped, split_grouped
from heron.checkpoint.views import Reshape, Transpose
from heron.errors import CheckpointError
from heron.quant.formats import FORMATS

MXFP4 = FORMATS["MXFP4"]
NIBBLES = MXFP4.block // 2  # bytes of a block's codes

_BOTH, _GATE, _UP, _DOWN = "ffn_gate_up_exps", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"


class JoinedMxfp4(Tensor):
    """HF's codes [..., n / 32, 16] and scales [..., n / 32], both bytes, as MXFP4 [..., n].

    HF's bytes hold neighbours, the even element in the low half; GGUF's hold elements 16 apart. The scales are the same (E8M0).
    """

    def __init__(self, codes: Tensor, scales: Tensor) -> None:
        if codes.shape != (*scales.shape, NIBBLES):
            raise CheckpointError(f"{codes!r} and {scales!r} do not make up MXFP4 blocks; the folder is of another variant, or damaged")
        self._codes, self._scales, self._groups = codes, scales, scales.shape[-1]
        self.shape, self.format = (*scales.shape[:-1], self._groups * MXFP4.block), MXFP4

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop, groups = self._stop(stop), self._groups
        pairs = self._codes.rows(start * groups, stop * groups)
        codes = np.stack([pairs & 15, pairs >> 4], axis=-1).reshape(len(pairs), 2, NIBBLES)
        scales = self._scales.rows(start, stop).reshape(-1, 1)
        return np.concatenate([scales, codes[:, 0] | codes[:, 1] << 4], axis=1).reshape(stop - start, self.row_bytes)


class _PartOfMxfp4(Tensor):
    format = FORMATS["I8"]

    def __init__(self, tensor: Tensor) -> None:
        self._source, self._groups = tensor, tensor.row_length // MXFP4.block

    def _blocks(self, start: int, stop: int) -> NDArray[np.uint8]:
        return np.ascontiguousarray(self._source.rows(start, stop)).reshape(-1, MXFP4.bytes)


class Mxfp4Codes(_PartOfMxfp4):
    """The codes of a tensor in MXFP4, as JoinedMxfp4 takes them."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self.shape = (*tensor.shape[:-1], self._groups, NIBBLES)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        first, last = start // self._groups, -(-stop // self._groups)
        apart = self._blocks(first, last)[start - first * self._groups :][: stop - start, 1:]
        pairs = np.concatenate([apart & 15, apart >> 4], axis=1)
        return pairs[:, ::2] | pairs[:, 1::2] << 4


class Mxfp4Scales(_PartOfMxfp4):
    """The scales of a tensor in MXFP4, as JoinedMxfp4 takes them."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self.shape = (*tensor.shape[:-1], self._groups)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self._blocks(start, self._stop(stop))[:, 0].reshape(-1, self._groups)


@dataclass(frozen=True)
class AlternatingExperts(Transform):
    """HF stacks experts as [E, in, out] (or in MXFP4 as [E, out, in]), the gate's and up's columns in turn; GGUF has them apart,
    [E, out, in]. Biases likewise."""

    renames: Renames = tuple(
        (rf".*\blayers\.(\d+)\.mlp\.experts\.{theirs}{suffix}", rf"blk.\1.{ours}.{kind}")
        for theirs, ours in (("gate_up_proj", _BOTH), ("down_proj", _DOWN))
        for suffix, kind in (("", "weight"), ("_bias", "bias"), ("_blocks", "codes"), ("_scales", "scales"))
    )

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result: Tensors = {}
        for name, tensor in tensors.items():
            stem, _, kind = name.rpartition(".")
            if not stem.endswith((_BOTH, _DOWN)):
                result[name] = tensor
            elif kind == "codes":
                if (scales := tensors.get(f"{stem}.scales")) is None:
                    raise CheckpointError(f"{stem} has MXFP4 blocks and no scales; the folder is incomplete")
                result |= _apart(f"{stem}.weight", JoinedMxfp4(tensor, scales))
            elif kind != "scales":
                result |= _apart(name, Transpose(tensor) if kind == "weight" else tensor)
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, gate in matching(tensors, (rf"blk\.\d+\.{_GATE}\.(weight|bias)",)):
            del result[name]
            up = result.pop(name.replace(_GATE, _UP))
            halves = [Reshape(half, (gate.shape[0] * gate.dim(1), *gate.shape[2:])) for half in (gate, up)]
            joined = merge_grouped(halves, halves[0].shape[0])
            result[name.replace(_GATE, _BOTH)] = Reshape(joined, (gate.shape[0], 2 * gate.shape[1], *gate.shape[2:]))
        for name, tensor in matching(result, (rf"blk\.\d+\.({_BOTH}|{_DOWN})\.weight",)):
            if tensor.format == MXFP4:
                del result[name]
                stem = name.removesuffix("weight")
                result |= {f"{stem}codes": Mxfp4Codes(tensor), f"{stem}scales": Mxfp4Scales(tensor)}
            else:
                result[name] = tensor.source if isinstance(tensor, Transpose) else Transpose(tensor)
        return result


def _apart(name: str, tensor: Tensor) -> Tensors:
    """Gate and up of a tensor [E, 2 n, ...] in which their rows take turns; any other as it is."""
    if _BOTH not in name:
        return {name: tensor}
    experts, both, rest = tensor.shape[0], tensor.dim(1), tensor.shape[2:]
    rows = Reshape(tensor, (experts * both, *rest))
    gate, up = split_grouped(rows, experts * (both // 2), (1, 1))
    return {name.replace(_BOTH, half): Reshape(part, (experts, both // 2, *rest)) for half, part in ((_GATE, gate), (_UP, up))}
