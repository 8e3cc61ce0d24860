"""Qwen3-Next (Qwen Team 2025): gated delta nets, every fourth layer gated attention; experts beside a gated shared one.

HF's norms multiply by 1 + w, but for the one inside the delta net; its fused projections are grouped by key heads.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NegExp, NormPlusOne, Squeeze, StackExperts
from heron.checkpoint.transforms_delta import UngroupQKVZ
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Gate, Heads
from heron.models.blocks.delta_net import GatedDeltaNet
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for layers without experts, which GGUF has no tensors for."""
    if config.get("mlp_only_layers") or config.integer("decoder_sparse_step", 1) != 1:
        raise UnsupportedError(f"{config.where}: Qwen3-Next with dense layers (mlp_only_layers, decoder_sparse_step) is not supported")
    value_heads = config.integer("linear_num_value_heads")
    return {
        **common_metadata(Metadata({"partial_rotary_factor": 0.25, **config}, where=config.where)),
        **_schedule(config),
        "ssm.conv_kernel": config.integer("linear_conv_kernel_dim"),
        "ssm.state_size": config.integer("linear_key_head_dim"),
        "ssm.group_count": config.integer("linear_num_key_heads"),
        "ssm.time_step_rank": value_heads,
        "ssm.inner_size": value_heads * config.integer("linear_value_head_dim"),
    }


def _schedule(config: Metadata) -> dict[str, Any]:
    """Which layers attend: every n-th, or any others, which only the newer of the two keys can say."""
    kinds = config.strings("layer_types", None)
    if kinds is None:
        return {"full_attention_interval": config.integer("full_attention_interval", 4)}
    if unknown := sorted(set(kinds) - {"linear_attention", "full_attention"}):
        raise UnsupportedError(f"{config.where}: layers of type {', '.join(unknown)} are not supported in Qwen3-Next")
    recurrent = [kind == "linear_attention" for kind in kinds]
    interval = next((i for i, r in enumerate(recurrent, start=1) if not r), len(kinds) + 1)
    if recurrent == [i % interval != 0 for i in range(1, len(kinds) + 1)]:
        return {"full_attention_interval": interval}
    return {"attention.recurrent_layers": recurrent}


def recurrent_layers(p: Params) -> tuple[bool, ...]:
    """For each layer whether it is a delta net."""
    if p.has("attention.recurrent_layers"):
        return tuple(map(bool, p.each("attention.recurrent_layers", p.layers)))
    interval = p.integer("full_attention_interval", 4, least=1)
    return tuple(i % interval != 0 for i in range(1, p.layers + 1))


HF = HFMapping(
    "qwen3next",
    metadata,
    renames=((r".*\blayers\.(\d+)\.linear_attn\.dt_bias", r"blk.\1.ssm_dt.bias"),),
    transforms=(
        NormPlusOne((r"output_norm\.weight", r"blk\.\d+\.(attn|post_attention|attn_q|attn_k)_norm\.weight")),
        NegExp((r"blk\.\d+\.ssm_a",)),
        Squeeze((r"blk\.\d+\.ssm_conv1d\.weight",)),
        UngroupQKVZ(),
        StackExperts(),
    ),
    ignore=(r"^mtp\.",),
)


@family("qwen3next", qwen3_next=HF)
def qwen3next(p: Params) -> Decoder:
    heads = p.integer("attention.head_count", least=1)
    dim = p.integer("attention.key_length", p.hidden // heads, least=1)
    norm = Norm(p.rms_eps)
    attention = Attention(
        Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim),
        rope=Rope.read(p, dim, "half"),
        head_norm=norm,
        gate=Gate(),
    )
    value_heads = p.integer("ssm.time_step_rank", least=1)
    delta_net = GatedDeltaNet(
        p.integer("ssm.group_count", least=1),
        value_heads,
        p.integer("ssm.state_size", least=1),
        p.integer("ssm.inner_size", least=1) // value_heads,
        p.integer("ssm.conv_kernel", least=1),
        norm,
    )
    router = Router(
        p.integer("expert_count", least=1),
        p.integer("expert_used_count", least=1),
        renormalize=p.flag("expert_weights_norm", True),
    )
    shared = GatedMLP(p.integer("expert_shared_feed_forward_length", least=1), suffix="_shexp")
    moe = MoE(router, p.integer("expert_feed_forward_length", least=1), shared=shared, shared_gate=True)
    residual = PreNorm(norm, ffn_norm="post_attention_norm")
    return Decoder(tuple(Layer(delta_net if recurrent else attention, moe, residual) for recurrent in recurrent_layers(p)), norm)
