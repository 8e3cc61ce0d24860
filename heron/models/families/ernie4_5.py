"""ERNIE 4.5, the dense models (Baidu 2025): Llama's shape. Rope's pairs are adjacent in HF's layout too, so nothing is permuted."""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@family("ernie4_5", ernie4_5=HFMapping("ernie4_5"))
def ernie4_5(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "adjacent"))
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
