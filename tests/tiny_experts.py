"""Tiny configurations of families with experts that need more than others do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf
from tiny_llamalike import DEEP, SMALL

QWEN: dict[str, Any] = {"num_experts": 6, "num_experts_per_tok": 2, "moe_intermediate_size": 24, "shared_expert_intermediate_size": 40}
OSS: dict[str, Any] = {**DEEP, "head_dim": 20, "sliding_window": 9, "num_local_experts": 6, "num_experts_per_tok": 3, "pad_token_id": 0}
STRETCHED = {"rope_type": "yarn", "rope_theta": 500.0, "factor": 4.0, "original_max_position_embeddings": 16}
STRETCHED |= {"beta_fast": 1.25, "beta_slow": 0.5}

EXPERTS: dict[str, Callable[[], Any]] = {
    "qwen2moe": lambda: tf.Qwen2MoeConfig(**SMALL, **QWEN),
    "qwen2moe-normed": lambda: tf.Qwen2MoeConfig(**SMALL, **QWEN, norm_topk_prob=True, qkv_bias=False, tie_word_embeddings=True),
    "qwen2moe-dense": lambda: tf.Qwen2MoeConfig(**DEEP, **QWEN, decoder_sparse_step=2, mlp_only_layers=[3]),
    "qwen3moe-dense": lambda: tf.Qwen3MoeConfig(
        **DEEP, head_dim=16, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=24, mlp_only_layers=[0, 3]
    ),
    # Gates reach their bounds: random ones would not reach 7.
    "gpt-oss": lambda: tf.GptOssConfig(**OSS, swiglu_limit=0.6, rope_parameters={**STRETCHED, "truncate": False}),
    "gpt-oss-whole": lambda: tf.GptOssConfig(
        **{**OSS, "num_hidden_layers": 2},
        layer_types=["full_attention", "sliding_attention"],
        attention_bias=False,
        tie_word_embeddings=True,
        rope_parameters={**STRETCHED, "truncate": True},
    ),
    "gpt-oss-plain": lambda: tf.GptOssConfig(
        **{**OSS, "num_hidden_layers": 2}, rope_parameters={"rope_type": "default", "rope_theta": 500.0}
    ),
}
