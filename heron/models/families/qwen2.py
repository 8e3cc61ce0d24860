"""Qwen 2 and 2.5 (Yang et al. 2024): Llama's shape with biases on q, k and v, and rope on halves."""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@family("qwen2", qwen2=HFMapping("qwen2", common_metadata))
def qwen2(p: Params) -> Decoder:
    heads = p.integer("attention.head_count", least=1)
    dim = p.integer("attention.key_length", p.hidden // heads, least=1)
    norm = Norm(p.rms_eps)
    attention = Attention(
        Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim),
        rope=Rope.read(p, dim, "half"),
    )
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
