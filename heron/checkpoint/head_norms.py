"""Norms of heads that HF stores one by one, and GGUF as one tensor [heads, head size] (StableLM 12B)."""

from __future__ import annotations

import re
from dataclasses import dataclass

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import Renames, Tensors, Transform, matching
from heron.checkpoint.views import AxisSlice, Reshape, Stack

_NAMES = r"blk\.\d+\.attn_[qk]_norm"


@dataclass(frozen=True)
class StackHeadNorms(Transform):
    """`blk.N.attn_q_norm.H.weight` [head size], one a head, and `blk.N.attn_q_norm.weight` [heads, head size]."""

    renames: Renames = ((r"model\.layers\.(\d+)\.self_attn\.([qk])_layernorm\.norms\.(\d+)\.weight", r"blk.\1.attn_\2_norm.\3.weight"),)

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        heads: dict[str, dict[int, str]] = {}
        for name, _ in matching(tensors, (_NAMES + r"\.\d+\.weight",)):
            stem, head = re.fullmatch(r"(.*)\.(\d+)\.weight", name).groups()  # type: ignore[union-attr]
            heads.setdefault(stem, {})[int(head)] = name
        for stem, names in heads.items():
            result[f"{stem}.weight"] = Stack([result.pop(names[head]) for head in sorted(names)])
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, tensor in matching(tensors, (_NAMES + r"\.weight",)):
            del result[name]
            for head in range(tensor.shape[0]):
                one = Reshape(AxisSlice(tensor, 0, head, head + 1), tensor.shape[1:])
                result[f"{name.removesuffix('.weight')}.{head}.weight"] = one
        return result
