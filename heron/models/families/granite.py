"""Granite 3 (Granite Team, IBM, 2024): Llama's shape with four multipliers (Yang et al. 2022): on embeddings, on scores in
place of 1/sqrt(head size), on each sublayer's output, and, dividing, on logits; and its mixture-of-experts variant.

GGUF stores q and k rows permuted to adjacent rope pairs, and turns rope off by ``rope.scaling.finetuned`` false.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import UnpermuteRope
from heron.models.blocks.attention import Attention, Heads, Score
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm, Sublayer
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Head, Layer
from heron.models.params import Params
from heron.models.registry import family

#: Key <- the configuration's name of a multiplier. ``logit_scale`` divides.
SCALES = {
    "attention.scale": "attention_multiplier",
    "embedding_scale": "embedding_multiplier",
    "residual_scale": "residual_multiplier",
    "logit_scale": "logits_scaling",
}


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    return {**common_metadata(config), **{key: config.number(name, 1.0) for key, name in SCALES.items()}}


def decoder(p: Params, ffn: Sublayer) -> Decoder:
    """Granite with this feed-forward block in every layer."""
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    rope = Rope.read(p, heads.dim, "adjacent") if p.flag("rope.scaling.finetuned", True) else None
    attention = Attention(heads, rope, score=Score(p.number("attention.scale", 0.0)))
    residual = PreNorm(norm, scale=p.number("residual_scale", 1.0))
    head = Head(scale=1 / p.number("logit_scale", 1.0))
    return Decoder((Layer(attention, ffn, residual),) * p.layers, norm, head, p.number("embedding_scale", 1.0))


@family("granite", granite=HFMapping("granite", metadata, transforms=(UnpermuteRope(),)))
def granite(p: Params) -> Decoder:
    return decoder(p, GatedMLP(p.integer("feed_forward_length", least=1)))
