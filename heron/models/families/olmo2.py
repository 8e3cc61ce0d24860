"""OLMo 2 and 3 (OLMo Team 2024 and 2025): norms on the sublayers' outputs alone, and over all queries and all keys at once.

OLMo 3 has sliding windows in three layers of four; where its rope is stretched, it is so in the others alone.
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


@family("olmo2", olmo2=HFMapping("olmo2"), olmo3=HFMapping("olmo2"))
def olmo2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    everywhere = Rope.read(p, heads.dim, "half")
    nearby = Rope(everywhere.dims, p.number("rope.freq_base_swa", everywhere.theta), "half")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))

    def layer(mask: Mask) -> Layer:
        rope = nearby if mask.window else everywhere
        return Layer(Attention(heads, rope, wide_norm=norm, mask=mask), ffn, OutputNorm(norm))

    return Decoder(tuple(map(layer, Mask.each(p, period=4))), norm)
