"""Tiny configurations of families near Llama: other norms, multipliers, fused matrices, layers without rope."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf

SMALL: dict[str, Any] = {
    "vocab_size": 67,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
DEEP = {**SMALL, "num_hidden_layers": 5}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}
YARN = {
    "rope_type": "yarn",
    "rope_theta": 100.0,
    "factor": 4.0,
    "original_max_position_embeddings": 32,
    "beta_fast": 2.0,
    "beta_slow": 1.0,
}
MULTIPLIERS = {"attention_multiplier": 0.4, "embedding_multiplier": 3.0, "residual_multiplier": 0.3, "logits_scaling": 5.0}
LONGROPE: dict[str, Any] = {
    "rope_type": "longrope",
    "rope_theta": 100.0,
    "short_factor": [1.0, 1.1, 1.3, 1.6, 2.0, 2.5],
    "long_factor": [1.2, 1.5, 2.0, 3.0, 5.0, 8.0],
}
LOCAL, GLOBAL = "sliding_attention", "full_attention"

LLAMALIKE: dict[str, Callable[[], Any]] = {
    "gemma": lambda: tf.GemmaConfig(**SMALL, head_dim=20),
    "gemma-untied": lambda: tf.GemmaConfig(**SMALL, head_dim=16, attention_bias=True, tie_word_embeddings=False),
    "gemma2": lambda: tf.Gemma2Config(
        **{**SMALL, "num_hidden_layers": 3},
        head_dim=20,
        sliding_window=9,
        query_pre_attn_scalar=30,
        attn_logit_softcapping=6.0,
        final_logit_softcapping=3.0,
    ),
    "gemma2-uncapped": lambda: tf.Gemma2Config(
        **SMALL,
        head_dim=16,
        sliding_window=9,
        query_pre_attn_scalar=16,
        attn_logit_softcapping=None,
        final_logit_softcapping=None,
        attention_bias=True,
        layer_types=[GLOBAL, LOCAL],
    ),
    "granite": lambda: tf.GraniteConfig(**SMALL, **MULTIPLIERS),
    "granite-biased": lambda: tf.GraniteConfig(**SMALL, **MULTIPLIERS, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "granitemoe": lambda: tf.GraniteMoeConfig(**SMALL, **MULTIPLIERS, num_local_experts=6, num_experts_per_tok=2),
    "granitemoe-shared": lambda: tf.GraniteMoeSharedConfig(
        **SMALL,
        **MULTIPLIERS,
        num_local_experts=6,
        num_experts_per_tok=3,
        shared_intermediate_size=28,
        attention_bias=True,
        tie_word_embeddings=True,
    ),
    "olmo2": lambda: tf.Olmo2Config(**SMALL),
    "olmo2-biased": lambda: tf.Olmo2Config(**SMALL, attention_bias=True, tie_word_embeddings=True, rope_parameters=LLAMA3),
    "olmo3": lambda: tf.Olmo3Config(
        **DEEP,
        sliding_window=9,
        rope_parameters={LOCAL: {"rope_type": "default", "rope_theta": 300.0}, GLOBAL: {**YARN, "rope_theta": 50.0}},
    ),
    "smollm3": lambda: tf.SmolLM3Config(**DEEP),
    "smollm3-pattern": lambda: tf.SmolLM3Config(
        **SMALL, no_rope_layer_interval=2, attention_bias=True, mlp_bias=True, tie_word_embeddings=False, rope_parameters=LLAMA3
    ),
    "smollm3-windows": lambda: tf.SmolLM3Config(**DEEP, use_sliding_window=True, sliding_window=9),
    "ernie4_5": lambda: tf.Ernie4_5Config(**SMALL, head_dim=20),
    "ernie4_5-biased": lambda: tf.Ernie4_5Config(**SMALL, head_dim=None, use_bias=True, tie_word_embeddings=False),
    "exaone4": lambda: tf.Exaone4Config(**DEEP, sliding_window=9),
    "exaone4-everywhere": lambda: tf.Exaone4Config(
        **SMALL, sliding_window=None, layer_types=[GLOBAL, GLOBAL], tie_word_embeddings=True, rope_parameters=LLAMA3
    ),
    "phi3": lambda: tf.Phi3Config(**SMALL, sliding_window=9),
    "phi3-part": lambda: tf.Phi3Config(
        **{**SMALL, "hidden_size": 64},
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.75},
    ),
    "phi3-long": lambda: tf.Phi3Config(
        **{**SMALL, "max_position_embeddings": 32}, original_max_position_embeddings=16, rope_parameters=LONGROPE
    ),
    "phi3-short": lambda: tf.Phi3Config(**SMALL, original_max_position_embeddings=128, rope_parameters=LONGROPE),
    "glm4": lambda: tf.Glm4Config(**SMALL, head_dim=16),
    "glm4-whole": lambda: tf.Glm4Config(
        **SMALL,
        head_dim=20,
        attention_bias=False,
        tie_word_embeddings=True,
        rope_parameters={"rope_theta": 500.0, "partial_rotary_factor": 1.0},
    ),
    "olmoe": lambda: tf.OlmoeConfig(**SMALL, num_experts=6, num_experts_per_tok=2),
    "olmoe-clipped": lambda: tf.OlmoeConfig(
        **SMALL, num_experts=6, num_experts_per_tok=3, clip_qkv=1.8, norm_topk_prob=True, attention_bias=True, tie_word_embeddings=True
    ),
}
