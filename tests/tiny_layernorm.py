"""Tiny configurations of families with layer norms: parallel residuals, learned positions, ALiBi, norms of heads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf
from tiny_llamalike import SMALL as LLAMALIKE_SMALL

SMALL: dict[str, Any] = {**LLAMALIKE_SMALL, "bos_token_id": 1, "eos_token_id": 2}
NEOX = {k: v for k, v in SMALL.items() if k != "num_key_value_heads"} | {"hidden_size": 64}
GPT2: dict[str, Any] = {"vocab_size": 67, "n_embd": 48, "n_layer": 2, "n_head": 4, "n_positions": 64, "bos_token_id": 1, "eos_token_id": 2}
FALCON = {**SMALL, "hidden_size": 64, "layer_norm_epsilon": 1e-4}
HALF = {"rope_type": "default", "rope_theta": 300.0, "partial_rotary_factor": 0.5}

LAYERNORM: dict[str, Callable[[], Any]] = {
    "starcoder2": lambda: tf.Starcoder2Config(**SMALL, sliding_window=9, use_bias=True, norm_epsilon=1e-4),
    "starcoder2-plain": lambda: tf.Starcoder2Config(**SMALL, sliding_window=None, use_bias=False, tie_word_embeddings=False),
    "phi2": lambda: tf.PhiConfig(**SMALL, rope_parameters=HALF),
    "gptneox": lambda: tf.GPTNeoXConfig(**NEOX, rope_parameters=HALF),
    "gptneox-in-turn": lambda: tf.GPTNeoXConfig(**NEOX, use_parallel_residual=False, attention_bias=False, tie_word_embeddings=True),
    "gpt2": lambda: tf.GPT2Config(**GPT2),
    "gpt2-untied": lambda: tf.GPT2Config(**GPT2, n_inner=80, tie_word_embeddings=False),
    "stablelm": lambda: tf.StableLmConfig(**SMALL, rope_parameters=HALF, use_qkv_bias=True),
    "stablelm-12b": lambda: tf.StableLmConfig(
        **SMALL, rope_parameters=HALF, qk_layernorm=True, use_parallel_residual=True, tie_word_embeddings=True
    ),
    "nemotron": lambda: tf.NemotronConfig(**SMALL, head_dim=16, rope_parameters=HALF),
    "nemotron-biased": lambda: tf.NemotronConfig(**SMALL, attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
    "command-r": lambda: tf.CohereConfig(**SMALL, logit_scale=0.3),
    "command-r-plus": lambda: tf.CohereConfig(**SMALL, use_qk_norm=True, attention_bias=True),
    "cohere2": lambda: tf.Cohere2Config(**{**SMALL, "num_hidden_layers": 5}, head_dim=16, sliding_window=9, logit_scale=0.3),
    "cohere2-biased": lambda: tf.Cohere2Config(
        **SMALL, sliding_window=9, attention_bias=True, layer_types=["full_attention", "sliding_attention"]
    ),
    "falcon": lambda: tf.FalconConfig(**FALCON, multi_query=True, bias=False),
    "falcon-heads": lambda: tf.FalconConfig(**FALCON, multi_query=False, bias=True, tie_word_embeddings=False),
    "falcon-40b": lambda: tf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=80),
    "falcon2": lambda: tf.FalconConfig(**FALCON, new_decoder_architecture=True, num_kv_heads=2, num_ln_in_parallel_attn=1),
    "bloom": lambda: tf.BloomConfig(vocab_size=67, hidden_size=48, n_layer=2, n_head=6, bos_token_id=1, eos_token_id=2),
    "mpt": lambda: tf.MptConfig(vocab_size=67, d_model=48, n_layers=2, n_heads=6, max_seq_len=128),
    "mpt-clipped": lambda: tf.MptConfig(vocab_size=67, d_model=48, n_layers=2, n_heads=4, max_seq_len=128, attn_config={"clip_qkv": 2.0}),
}
