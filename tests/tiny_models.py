"""Tiny configurations of every family, for tests that hold for all of them. Sizes differ from each other where they can."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity
import transformers as tf
from tiny_encoders import BERTS
from tiny_experts import EXPERTS
from tiny_internlm2 import internlm2
from tiny_layernorm import LAYERNORM
from tiny_llamalike import LLAMA3, LLAMALIKE, YARN
from tiny_recurrent import RECURRENT

SMALL: dict[str, Any] = {
    "vocab_size": 67,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
#: With 16 pairs and a small base, so that the ramp between fast and slow pairs has room to move.
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 3.0}

#: Each is a family's own shape; together they hold both values of each boolean that the family's configuration has.
DECODERS: dict[str, Callable[[], Any]] = {
    "llama": lambda: tf.LlamaConfig(**SMALL, rms_norm_eps=1e-5),
    "llama3": lambda: tf.LlamaConfig(**SMALL, tie_word_embeddings=True, attention_bias=True, mlp_bias=True, rope_parameters=LLAMA3),
    "llama-linear": lambda: tf.LlamaConfig(**SMALL, head_dim=20, rope_parameters=LINEAR),
    "llama-yarn": lambda: tf.LlamaConfig(**SMALL, head_dim=32, rope_parameters=YARN),
    "mistral": lambda: tf.MistralConfig(**SMALL, sliding_window=11, head_dim=16),
    "mixtral": lambda: tf.MixtralConfig(**SMALL, num_local_experts=6, num_experts_per_tok=2, sliding_window=None),
    "qwen2": lambda: tf.Qwen2Config(**SMALL, tie_word_embeddings=True),
    "qwen2-yarn": lambda: tf.Qwen2Config(**{**SMALL, "hidden_size": 128}, rope_parameters={**YARN, "attention_factor": 1.5}),
    "qwen3": lambda: tf.Qwen3Config(**SMALL, head_dim=20),
    "qwen3-tied": lambda: tf.Qwen3Config(**SMALL, head_dim=16, attention_bias=True, tie_word_embeddings=True),
    "qwen3moe": lambda: tf.Qwen3MoeConfig(
        **SMALL, head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24, norm_topk_prob=True
    ),
    "qwen3moe-plain": lambda: tf.Qwen3MoeConfig(
        **SMALL, head_dim=16, num_experts=6, num_experts_per_tok=3, moe_intermediate_size=24, norm_topk_prob=False
    ),
    "gemma3": lambda: tf.Gemma3TextConfig(
        **{**SMALL, "num_hidden_layers": 3},
        head_dim=20,
        sliding_window=9,
        query_pre_attn_scalar=30,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        rope_parameters={
            "sliding_attention": {"rope_type": "default", "rope_theta": 300.0},
            "full_attention": {"rope_type": "linear", "factor": 4.0, "rope_theta": 9000.0},
        },
    ),
    "gemma3-capped": lambda: tf.Gemma3TextConfig(
        **{**SMALL, "num_hidden_layers": 7},
        head_dim=16,
        sliding_window=9,
        query_pre_attn_scalar=16,
        final_logit_softcapping=2.0,
        tie_word_embeddings=False,
    ),
}

DECODERS |= LLAMALIKE | LAYERNORM | EXPERTS

DEEPSEEK: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 36,
    "intermediate_size": 44,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "n_shared_experts": 2,
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "kv_lora_rank": 32,
    "q_lora_rank": 24,
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 12,
    "v_head_dim": 10,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 128,
}

T5: dict[str, Any] = {
    "vocab_size": 61,
    "d_model": 32,
    "d_kv": 10,
    "d_ff": 72,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_num_buckets": 12,
    "relative_attention_max_distance": 20,
    "decoder_start_token_id": 0,
}

#: Families whose own tests compare them with transformers; the passes and the golden dumps take them from here.
OTHERS: dict[str, Callable[[], Any]] = {
    "qwen3next": lambda: tf.Qwen3NextConfig(
        vocab_size=61,
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        linear_num_key_heads=2,
        linear_num_value_heads=6,
        linear_key_head_dim=10,
        linear_value_head_dim=7,
        linear_conv_kernel_dim=4,
        num_experts=6,
        num_experts_per_tok=2,
        moe_intermediate_size=24,
        shared_expert_intermediate_size=40,
        max_position_embeddings=128,
    ),
    "deepseek2": lambda: tf.DeepseekV3Config(**DEEPSEEK),
    "deepseek2-v2": lambda: tf.DeepseekV2Config(**DEEPSEEK, topk_method="group_limited_greedy"),
}
OTHERS |= RECURRENT
EVERY = DECODERS | OTHERS

#: Models with an encoder: a configuration, the class that makes the model of it, and how queries and keys are scaled.
ENCODERS: dict[str, Callable[[], tuple[Any, Any, float]]] = BERTS | {
    "t5": lambda: (tf.T5Config(**T5, feed_forward_proj="gated-gelu", tie_word_embeddings=False), tf.AutoModelForSeq2SeqLM, 1.0),
}


def make(name: str, folder: Path) -> parity.Tiny:
    """The model of this name, saved to ``folder``."""
    if name == "internlm2":
        return internlm2(folder)
    if name in EVERY:
        return parity.tiny(EVERY[name](), folder)
    config, auto, sharp = ENCODERS[name]()
    return parity.tiny(config, folder, auto=auto, sharp=sharp)
