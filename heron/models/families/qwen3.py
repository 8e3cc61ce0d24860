"""Qwen 3 (Qwen Team 2025): heads of their own size, normalized before rope; and its mixture-of-experts variant."""

from __future__ import annotations

from collections.abc import Sequence

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.transforms import StackExperts
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm, Sublayer
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.families.qwen2 import DENSE, routed
from heron.models.params import Params
from heron.models.registry import family


def decoder(p: Params, ffn: Sequence[Sublayer]) -> Decoder:
    """Qwen 3 with these feed-forward blocks, one a layer."""
    heads = p.integer("attention.head_count", least=1)
    dim = p.integer("attention.key_length", p.hidden // heads, least=1)
    norm = Norm(p.rms_eps)
    attention = Attention(
        Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim),
        rope=Rope.read(p, dim, "half"),
        head_norm=norm,
    )
    return Decoder(tuple(Layer(attention, each, PreNorm(norm)) for each in ffn), norm)


@family("qwen3", qwen3=HFMapping("qwen3", common_metadata))
def qwen3(p: Params) -> Decoder:
    return decoder(p, (GatedMLP(p.integer("feed_forward_length", least=1)),) * p.layers)


@family("qwen3moe", qwen3_moe=HFMapping("qwen3moe", common_metadata, DENSE, transforms=(StackExperts(),)))
def qwen3moe(p: Params) -> Decoder:
    return decoder(p, routed(p, renormalize=True))
