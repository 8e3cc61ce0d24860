"""EXAONE 4 (LG AI Research 2025): norms on the sublayers' outputs alone, and on each query and key head.

The 32B model has sliding windows in three layers of four, and rope in those alone; the 1.2B model has rope in all.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import OutputNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@family("exaone4", exaone4=HFMapping("exaone4"))
def exaone4(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    rope = Rope.read(p, heads.dim, "half")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    masks = Mask.each(p, period=4)
    windowed = any(mask.window for mask in masks)

    def layer(mask: Mask) -> Layer:
        turns = mask.window or not windowed
        return Layer(Attention(heads, rope if turns else None, head_norm=norm, mask=mask), ffn, OutputNorm(norm))

    return Decoder(tuple(map(layer, masks)), norm)
