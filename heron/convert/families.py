"""Which configuration of transformers a GGUF architecture is, and what it calls hyperparameters: a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.tensor import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Family:
    """How config.json of a ``model_type`` says what a GGUF file's keys do, beyond what all say alike.

    class_name  the class that transformers makes of it
    keys        GGUF key (without the architecture) -> the configuration's, where that is not the first of those that are read (None: none)
    flags       the configuration's flag -> a tensor that a model has where it is true
    lacks       the configuration's flag -> a tensor that a model lacks where it is true
    partial     the share of a head that turns must be said, since the class assumes another than all
    local_rope  layers with a window have a rope of their own
    kinds       layers must be said to have no window, since the class assumes one
    rope        there is a rope
    latent      it turns a part of the keys that has a size of its own
    special     writes what else there is, from the keys without the architecture
    """

    model_type: str
    class_name: str
    keys: Mapping[str, str | None] = field(default_factory=dict)
    flags: Mapping[str, str] = field(default_factory=dict)
    lacks: Mapping[str, str] = field(default_factory=dict)
    partial: bool = False
    local_rope: bool = False
    kinds: bool = False
    rope: bool = True
    latent: bool = False
    special: Callable[[Metadata], dict[str, Any]] = lambda values: {}


_BIASED = {"attention_bias": "blk.0.attn_q.bias"}
_EXPERTS = {"expert_count": "num_experts"}
_LAYER_NORM = "attention.layer_norm_epsilon"

#: Scores are not scaled by the head's size in the model of so many layers, whatever the file does not say.
_GEMMA_27B = {"gemma2": 46, "gemma3": 62}


def _gemma(values: Metadata) -> dict[str, Any]:
    arch = values.text("architecture")
    scale, layers = values.number("attention.scale", 0.0), values.integer("block_count")
    width = values.integer("embedding_length") // values.integer("attention.head_count")
    scalar = scale**-2 if scale else float(width if layers == _GEMMA_27B[arch] else values.integer("attention.key_length", 256))
    whole = round(scalar)
    said: dict[str, Any] = {"query_pre_attn_scalar": whole if abs(scalar - whole) < 1e-3 else scalar}
    if arch == "gemma3":
        return said | {"final_logit_softcapping": values.get("final_logit_softcapping")}
    caps = {"attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0}
    return said | {key: values.number(key, usual) or None for key, usual in caps.items()}


def _granite(values: Metadata) -> dict[str, Any]:
    names = {"embedding_scale": "embedding_multiplier", "residual_scale": "residual_multiplier", "logit_scale": "logits_scaling"}
    scale = values.number("attention.scale", 0.0) or values.integer("attention.key_length") ** -0.5
    return {"attention_multiplier": scale, **{theirs: values.number(ours, 1.0) for ours, theirs in names.items()}}


def _smollm3(values: Metadata) -> dict[str, Any]:
    turns = values.flags("rope.pattern", None)
    return {} if turns is None else {"no_rope_layers": [int(each) for each in turns]}


def _cohere(values: Metadata) -> dict[str, Any]:
    return {"logit_scale": values.number("logit_scale", 0.0625)}


def _gpt_neox(values: Metadata) -> dict[str, Any]:
    return {"use_parallel_residual": values.flag("use_parallel_residual", True)}


def _gpt_oss(values: Metadata) -> dict[str, Any]:
    limits = values.numbers("swiglu_clamp_exp", None)
    return {"swiglu_limit": 7.0 if limits is None else float(limits[0])}


def _normed(usual: bool) -> Callable[[Metadata], dict[str, Any]]:
    return lambda values: {"norm_topk_prob": values.flag("expert_weights_norm", usual)}


def _qwen2_moe(values: Metadata) -> dict[str, Any]:
    return _normed(False)(values) | {"use_sliding_window": False}


def _deepseek(values: Metadata) -> dict[str, Any]:
    """The latents' sizes, and how experts are chosen; GGUF counts the latents as one head of keys."""
    turning = values.integer("rope.dimension_count")
    return {
        "num_key_value_heads": values.integer("attention.head_count"),
        "q_lora_rank": values.integer("attention.q_lora_rank", None),
        "kv_lora_rank": values.integer("attention.kv_lora_rank"),
        "qk_rope_head_dim": turning,
        "qk_nope_head_dim": values.integer("attention.key_length_mla") - turning,
        "v_head_dim": values.integer("attention.value_length_mla"),
    }


def _deepseek_v2(values: Metadata) -> dict[str, Any]:
    return _deepseek(values) | {"topk_method": "group_limited_greedy" if "expert_group_count" in values else "greedy"}


LLAMA = Family("llama", "LlamaForCausalLM", flags={**_BIASED, "mlp_bias": "blk.0.ffn_up.bias"})
MISTRAL = Family("mistral", "MistralForCausalLM")
MIXTRAL = Family("mixtral", "MixtralForCausalLM")
OLMO2 = Family("olmo2", "Olmo2ForCausalLM", flags=_BIASED)
OLMO3 = Family("olmo3", "Olmo3ForCausalLM", flags=_BIASED, kinds=True)
_LATENT: dict[str, str | None] = {"expert_count": "n_routed_experts", "attention.key_length": None}
DEEPSEEK2 = Family("deepseek_v2", "DeepseekV2ForCausalLM", _LATENT, latent=True, special=_deepseek_v2)
DEEPSEEK3 = Family("deepseek_v3", "DeepseekV3ForCausalLM", _LATENT, latent=True, special=_deepseek)
_GPT2_KEYS = {
    "context_length": "n_positions",
    "embedding_length": "n_embd",
    "block_count": "n_layer",
    "feed_forward_length": "n_inner",
    "attention.head_count": "n_head",
    _LAYER_NORM: "layer_norm_epsilon",
}
_BLOOM_KEYS = {
    "block_count": "n_layer",
    "attention.head_count": "n_head",
    _LAYER_NORM: "layer_norm_epsilon",
    "context_length": "seq_length",
}

#: GGUF's architecture -> the family; Llama's, OLMo's and DeepSeek's depend on the model: see `family_of`.
FAMILIES: Mapping[str, Family] = {
    "qwen2": Family("qwen2", "Qwen2ForCausalLM"),
    "qwen2moe": Family("qwen2_moe", "Qwen2MoeForCausalLM", keys=_EXPERTS, flags={"qkv_bias": "blk.0.attn_q.bias"}, special=_qwen2_moe),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM", flags=_BIASED),
    "qwen3moe": Family("qwen3_moe", "Qwen3MoeForCausalLM", keys=_EXPERTS, flags=_BIASED, special=_normed(True)),
    "gemma": Family("gemma", "GemmaForCausalLM", flags=_BIASED),
    "gemma2": Family("gemma2", "Gemma2ForCausalLM", flags=_BIASED, kinds=True, special=_gemma),
    "gemma3": Family("gemma3_text", "Gemma3ForCausalLM", flags=_BIASED, local_rope=True, kinds=True, special=_gemma),
    "granite": Family("granite", "GraniteForCausalLM", flags={**_BIASED, "mlp_bias": "blk.0.ffn_up.bias"}, special=_granite),
    "olmoe": Family("olmoe", "OlmoeForCausalLM", keys=_EXPERTS, flags=_BIASED, special=_normed(False)),
    "smollm3": Family("smollm3", "SmolLM3ForCausalLM", flags={**_BIASED, "mlp_bias": "blk.0.ffn_up.bias"}, kinds=True, special=_smollm3),
    "ernie4_5": Family("ernie4_5", "Ernie4_5ForCausalLM", flags={"use_bias": "blk.0.attn_q.bias"}),
    "exaone4": Family("exaone4", "Exaone4ForCausalLM", kinds=True),
    "phi3": Family("phi3", "Phi3ForCausalLM", partial=True),
    "glm4": Family("glm4", "Glm4ForCausalLM", flags=_BIASED, partial=True),
    "starcoder2": Family("starcoder2", "Starcoder2ForCausalLM", {_LAYER_NORM: "norm_epsilon"}, {"use_bias": "blk.0.attn_q.bias"}),
    "phi2": Family("phi", "PhiForCausalLM", partial=True),
    "nemotron": Family(
        "nemotron", "NemotronForCausalLM", {_LAYER_NORM: "norm_eps"}, {**_BIASED, "mlp_bias": "blk.0.ffn_up.bias"}, partial=True
    ),
    "stablelm": Family(
        "stablelm",
        "StableLmForCausalLM",
        flags={"use_qkv_bias": "blk.0.attn_q.bias", "qk_layernorm": "blk.0.attn_q_norm.weight"},
        lacks={"use_parallel_residual": "blk.0.ffn_norm.weight"},
        partial=True,
    ),
    "command-r": Family("cohere", "CohereForCausalLM", flags={**_BIASED, "use_qk_norm": "blk.0.attn_q_norm.weight"}, special=_cohere),
    "cohere2": Family("cohere2", "Cohere2ForCausalLM", flags=_BIASED, kinds=True, special=_cohere),
    "gpt-oss": Family(
        "gpt_oss",
        "GptOssForCausalLM",
        {"expert_feed_forward_length": "intermediate_size"},
        _BIASED,
        kinds=True,
        special=_gpt_oss,
    ),
    "gpt2": Family("gpt2", "GPT2LMHeadModel", _GPT2_KEYS, rope=False),
    "gptneox": Family("gpt_neox", "GPTNeoXForCausalLM", flags={"attention_bias": "blk.0.attn_qkv.bias"}, partial=True, special=_gpt_neox),
    "bloom": Family("bloom", "BloomForCausalLM", _BLOOM_KEYS, rope=False),
}


def family_of(metadata: Metadata, tensors: Tensors) -> Family | None:
    """The family that a GGUF file's model is of, or None for one that is not in the table."""
    arch = metadata.text("general.architecture")
    windows = metadata.integer(f"{arch}.attention.sliding_window", 0)
    if arch == "llama":
        return MIXTRAL if metadata.integer("llama.expert_count", 0) else MISTRAL if windows else LLAMA
    if arch == "olmo2":
        return OLMO3 if windows else OLMO2
    if arch == "deepseek2":
        return DEEPSEEK3 if metadata.integer("deepseek2.expert_gating_func", 0) == 2 else DEEPSEEK2
    return FAMILIES.get(arch)
