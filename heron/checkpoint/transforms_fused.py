"""Layout notes for matrices that HF fuses, and GGUF stores apart or in another order (see transforms.py)."""

from __future__ import annotations

from dataclasses import dataclass

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import SplitQKV, Tensors, Transform, matching, merge_grouped, split_grouped
from heron.errors import CheckpointError


@dataclass(frozen=True)
class UngroupQKV(SplitQKV):
    """GGUF fuses q, k and v as HF does, but has all of q before k and v, where HF has them group by group (Falcon, GPT-NeoX)."""

    layout: str = "groups"

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        groups, sizes = self._sizes(metadata)
        return dict(tensors) | {
            name: merge_grouped(split_grouped(tensor, groups, sizes), 1) for name, tensor in matching(tensors, self.patterns)
        }

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        groups, sizes = self._sizes(metadata)
        wholes = [groups * size for size in sizes]
        return dict(tensors) | {
            name: merge_grouped(split_grouped(tensor, 1, wholes), groups) for name, tensor in matching(tensors, self.patterns)
        }


@dataclass(frozen=True)
class SplitGateUp(Transform):
    """HF fuses gate and up, [2 ff, in] with the gate's rows first, here `blk.N.ffn_gate_up`, which becomes ffn_gate and ffn_up.

    suffix  "_shexp" for shared experts
    """

    suffix: str = ""

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, tensor in matching(tensors, (rf"blk\.\d+\.ffn_gate_up{self.suffix}\.(weight|bias)",)):
            if tensor.dim(0) % 2:
                raise CheckpointError(f"{name} has {tensor.dim(0)} rows, which are not two halves; the model is of another variant")
            del result[name]
            for part, half in zip(("gate", "up"), split_grouped(tensor, 1, (tensor.dim(0) // 2,) * 2), strict=True):
                result[name.replace("gate_up", part)] = half
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, gate in matching(tensors, (rf"blk\.\d+\.ffn_gate{self.suffix}\.(weight|bias)",)):
            del result[name]
            up = result.pop(name.replace("ffn_gate", "ffn_up"))
            result[name.replace("ffn_gate", "ffn_gate_up")] = merge_grouped([gate, up], 1)
        return result
