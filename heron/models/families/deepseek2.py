"""DeepSeek-V2 (DeepSeek-AI 2024, May) and V3 (December): latent attention, experts picked within the best groups, shared experts.

V2 scores experts by softmax and a group by its best expert; V3 by sigmoid, with a correction added for the choice alone,
and a group by its best two. HF's rope pairs are adjacent, as GGUF's are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.hf_config import rope_parameters
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import SplitKVB, StackExperts
from heron.errors import CheckpointError, UnsupportedError
from heron.models.blocks.mla import MLA
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope, Yarn
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

#: GGUF's expert_gating_func -> scores, and how many of its experts a group is judged by.
GATING = {1: ("softmax", 1), 2: ("sigmoid", 2)}

#: The published models norm the latents of queries and of keys with this, whatever rms_norm_eps says.
LATENT_EPS = 1e-6

#: What config.json may say of what is computed in one way only; the first value is meant where it says nothing.
V2 = {
    "hidden_act": ("silu",),
    "moe_layer_freq": (1,),
    "scoring_func": ("softmax",),
    "topk_method": ("greedy", "group_limited_greedy"),
    "norm_topk_prob": (False,),  # DeepSeek's code and transformers disagree on what true means
}
V3 = {
    "hidden_act": ("silu",),
    "moe_layer_freq": (1,),
    "scoring_func": ("sigmoid",),
    "topk_method": ("noaux_tc",),
    "rope_interleave": (True,),
}


def _refuse(config: Metadata, known: Mapping[str, tuple[Any, ...]]) -> None:
    """Raise UnsupportedError where the configuration asks for something that is not computed."""
    rope, _ = rope_parameters(config)
    known = {**known, "num_key_value_heads": (config.integer("num_attention_heads"),)}
    for values, allowed in ((config, known), (rope, {"rope_type": ("default", "yarn"), "partial_rotary_factor": (1.0,)})):
        for key, choices in allowed.items():
            value = values.get(key, values.get("type") if key == "rope_type" else None)
            if value is not None and value not in choices:
                raise UnsupportedError(f"{values.where}: {key} {value!r:.60} is not supported in DeepSeek; known: {choices}")


def metadata_v2(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. ``greedy`` picks among all experts, whatever groups there are."""
    _refuse(config, V2)
    metadata = _metadata(config) | {"expert_gating_func": 1}
    if config.text("topk_method", "greedy") == "greedy":
        metadata.pop("expert_group_count", None)
        metadata.pop("expert_group_used_count", None)
    return metadata


def metadata_v3(config: Metadata) -> dict[str, Any]:
    _refuse(config, V3)
    return _metadata(config) | {"expert_gating_func": 2, "expert_weights_norm": config.flag("norm_topk_prob")}


def _metadata(config: Metadata) -> dict[str, Any]:
    """GGUF shows the latents as one head of keys, and has the real heads' sizes under keys of their own."""
    rank, turning = config.integer("kv_lora_rank"), config.integer("qk_rope_head_dim")
    query_rank = config.integer("q_lora_rank", None)
    return {
        **common_metadata(config),
        **({} if query_rank is None else {"attention.q_lora_rank": query_rank}),
        "attention.kv_lora_rank": rank,
        "attention.head_count_kv": 1,
        "attention.key_length": rank + turning,
        "attention.value_length": rank,
        "attention.key_length_mla": config.integer("qk_nope_head_dim") + turning,
        "attention.value_length_mla": config.integer("v_head_dim"),
        "rope.dimension_count": turning,
        "leading_dense_block_count": config.integer("first_k_dense_replace"),
        "expert_weights_scale": config.number("routed_scaling_factor"),
    }


def draft_layers(config: Metadata) -> tuple[str, ...]:
    """The layers after the last, which V3 drafts further tokens with."""
    last, drafts = config.integer("num_hidden_layers"), config.integer("num_nextn_predict_layers", 0)
    return tuple(rf"\blayers\.{last + i}\." for i in range(min(drafts, 16)))


def mapping(metadata: Callable[[Metadata], dict[str, Any]]) -> HFMapping:
    return HFMapping("deepseek2", metadata, transforms=(SplitKVB(), StackExperts()), unused=draft_layers)


def latent_rope(p: Params) -> Rope:
    """Rope of the part that turns. YaRN's factor is on the scores instead of cosine and sine where there is a log multiplier."""
    rope = Rope.read(p, p.integer("rope.dimension_count", least=2), "adjacent")
    if not isinstance(rope.scaling, Yarn) or not (multiplier := p.number("rope.scaling.yarn_log_multiplier", 0.0)):
        return rope
    return replace(rope, scaling=replace(rope.scaling, log_multiplier=multiplier, attention_factor=rope.scaling.attention_factor or 1.0))


def mla(p: Params) -> MLA:
    """Files of before the split of attn_kv_b have the real heads' sizes under the usual keys."""
    key, value = (
        p.integer(f"attention.{part}_length_mla" if p.has(f"attention.{part}_length_mla") else f"attention.{part}_length", least=1)
        for part in ("key", "value")
    )
    rope = latent_rope(p)
    if key <= rope.dims:
        raise CheckpointError(f"{p.where}: rope turns {rope.dims} elements of keys that have {key}; it must leave some")
    return MLA(
        p.integer("attention.head_count", least=1),
        p.integer("attention.kv_lora_rank", least=1),
        key - rope.dims,
        value,
        rope,
        Norm(LATENT_EPS),
        p.integer("attention.q_lora_rank", 0),
    )


def dense(p: Params) -> GatedMLP:
    return GatedMLP(p.integer("feed_forward_length", least=1))


def sparse(p: Params) -> MoE:
    width, shared = p.integer("expert_feed_forward_length", least=1), p.integer("expert_shared_count", 0)
    return MoE(router(p), width, shared=GatedMLP(shared * width, suffix="_shexp") if shared else None)


def router(p: Params) -> Router:
    gating = p.integer("expert_gating_func", 1)
    if gating not in GATING:
        raise UnsupportedError(f"{p.where}: expert_gating_func {gating} is not supported in DeepSeek; known: 1 (softmax), 2 (sigmoid)")
    scoring, group_best = GATING[gating]
    return Router(
        p.integer("expert_count", least=1),
        p.integer("expert_used_count", least=1),
        scoring,
        p.flag("expert_weights_norm", False),
        p.number("expert_weights_scale", 1.0),
        p.integer("expert_group_count", 1, least=1),
        p.integer("expert_group_used_count", 1, least=1),
        group_best,
    )


@family("deepseek2", deepseek_v2=mapping(metadata_v2), deepseek_v3=mapping(metadata_v3))
def deepseek2(p: Params) -> Decoder:
    if p.number("attention.temperature_scale", 0.0):
        raise UnsupportedError(f"{p.where}: attention with a temperature by position is not supported in DeepSeek")
    norm, attention, leading = Norm(p.rms_eps), mla(p), p.integer("leading_dense_block_count", 0)
    ffns = (dense(p) if i < leading else sparse(p) for i in range(p.layers))
    return Decoder(tuple(Layer(attention, ffn, PreNorm(norm)) for ffn in ffns), norm)
