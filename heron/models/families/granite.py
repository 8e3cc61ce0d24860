"""Granite 3 (Granite Team, IBM, 2024): Llama's shape with four multipliers (Yang et al. 2022): on embeddings, on scores in
place of 1/sqrt(head size), on each sublayer's output, and, dividing, on logits; and its mixture-of-experts variant.

GGUF stores q and k rows permuted to adjacent rope pairs, and turns rope off by ``rope.scaling.finetuned`` false. A multiplier
of 0 is none. HF fuses gate and up of the experts, and of the one that all tokens share.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import StackExperts, UnpermuteRope
from heron.checkpoint.transforms_fused import SplitGateUp
from heron.models.blocks.attention import Attention, Heads, Score
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.moe import MoE, Router
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
    embedding, residual, logit = (p.number(f"{name}_scale", 1.0) or 1.0 for name in ("embedding", "residual", "logit"))
    layer = Layer(attention, ffn, PreNorm(norm, scale=residual))
    return Decoder((layer,) * p.layers, norm, Head(scale=1 / logit), embedding)


@family("granite", granite=HFMapping("granite", metadata, transforms=(UnpermuteRope(),)))
def granite(p: Params) -> Decoder:
    return decoder(p, GatedMLP(p.integer("feed_forward_length", least=1)))


MOE = HFMapping(
    "granitemoe",
    metadata,
    renames=(
        (r"model\.layers\.(\d+)\.block_sparse_moe\.input_linear\.weight", r"blk.\1.ffn_gate_up_exps.weight"),
        (r"model\.layers\.(\d+)\.shared_mlp\.input_linear\.weight", r"blk.\1.ffn_gate_up_shexp.weight"),
    ),
    transforms=(UnpermuteRope(), StackExperts(), SplitGateUp("_shexp")),
)


@family("granitemoe", granitemoe=MOE, granitemoeshared=MOE)
def granitemoe(p: Params) -> Decoder:
    router = Router(p.integer("expert_count", least=1), p.integer("expert_used_count", least=1))
    shared = p.integer("expert_shared_feed_forward_length", 0)
    width = p.integer("feed_forward_length", least=1)
    return decoder(p, MoE(router, width, shared=GatedMLP(shared, suffix="_shexp") if shared else None))
