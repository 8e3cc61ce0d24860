"""Qwen 2 and 2.5 (Yang et al. 2024): Llama's shape with biases on q, k and v, and rope on halves; and Qwen 1.5's mixture of
experts, with a gated expert that all tokens share."""

from __future__ import annotations

from collections.abc import Sequence

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.transforms import StackExperts
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm, Sublayer
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def decoder(p: Params, ffn: Sequence[Sublayer]) -> Decoder:
    """Qwen 2 with these feed-forward blocks, one a layer."""
    heads = p.integer("attention.head_count", least=1)
    dim = p.integer("attention.key_length", p.hidden // heads, least=1)
    norm = Norm(p.rms_eps)
    attention = Attention(
        Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim),
        rope=Rope.read(p, dim, "half"),
    )
    return Decoder(tuple(Layer(attention, each, PreNorm(norm)) for each in ffn), norm)


@family("qwen2", qwen2=HFMapping("qwen2", common_metadata))
def qwen2(p: Params) -> Decoder:
    return decoder(p, (GatedMLP(p.integer("feed_forward_length", least=1)),) * p.layers)


#: What HF calls the feed-forward blocks of layers without experts, which GGUF's list of these families has no names for.
DENSE = ((r"model\.layers\.(\d+)\.mlp\.(gate|up|down)_proj\.weight", r"blk.\1.ffn_\2.weight"),)


def routed(p: Params, *, renormalize: bool, shared: GatedMLP | None = None) -> tuple[Sublayer, ...]:
    """Experts in each layer but those that ``dense_layers`` marks, which only HF's folders may have."""
    used = p.integer("expert_used_count", least=1)
    router = Router(p.integer("expert_count", least=1), used, renormalize=p.flag("expert_weights_norm", renormalize))
    experts = MoE(router, p.integer("expert_feed_forward_length", least=1), shared=shared, shared_gate=shared is not None)
    dense = p.each("dense_layers", p.layers, 0)
    mlp: Sublayer = GatedMLP(p.integer("feed_forward_length", least=1)) if any(dense) else experts
    return tuple(mlp if is_dense else experts for is_dense in dense)


@family("qwen2moe", qwen2_moe=HFMapping("qwen2moe", common_metadata, DENSE, transforms=(StackExperts(),)))
def qwen2moe(p: Params) -> Decoder:
    shared = GatedMLP(p.integer("expert_shared_feed_forward_length", least=1), suffix="_shexp")
    return decoder(p, routed(p, renormalize=False, shared=shared))
