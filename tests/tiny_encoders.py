"""Tiny configurations of BERT and its kin; together they hold both values of each boolean that a family's configuration has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf

SMALL: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 72,
    "max_position_embeddings": 40,
}
TOKENS = {"pad_token_id": 0, "eos_token_id": 0, "bos_token_id": 0, "mask_token_id": 0}
LINEAR = {"rope_type": "linear", "rope_theta": 90.0, "factor": 3.0}
MODERN: dict[str, Any] = {
    **SMALL,
    **dict.fromkeys(("pad_token_id", "eos_token_id", "bos_token_id", "cls_token_id", "sep_token_id"), 0),
    "local_attention": 9,
    "rope_parameters": {
        "full_attention": {"rope_type": "default", "rope_theta": 900.0},
        "sliding_attention": {"rope_type": "default", "rope_theta": 20.0},
    },
}
BIASED = {"norm_bias": True, "attention_bias": True, "mlp_bias": True}

#: A name -> a configuration, the class that makes the model of it, and how queries and keys are scaled.
BERTS: dict[str, Callable[[], tuple[Any, Any, float]]] = {
    "bert": lambda: (tf.BertConfig(**SMALL, layer_norm_eps=1e-5), tf.AutoModel, 2.5),
    "roberta": lambda: (tf.RobertaConfig(**{**SMALL, "max_position_embeddings": 42}, layer_norm_eps=1e-5), tf.AutoModel, 2.5),
    "xlm-roberta": lambda: (tf.XLMRobertaConfig(**{**SMALL, "max_position_embeddings": 42}, type_vocab_size=1), tf.AutoModel, 2.5),
    "distilbert": lambda: (
        tf.DistilBertConfig(vocab_size=61, dim=32, n_layers=3, n_heads=4, hidden_dim=72, max_position_embeddings=40),
        tf.AutoModel,
        2.5,
    ),
    "eurobert": lambda: (
        tf.EuroBertConfig(**SMALL, **TOKENS, num_key_value_heads=2, rope_parameters={"rope_type": "default", "rope_theta": 90.0}),
        tf.AutoModel,
        2.5,
    ),
    "eurobert-biased": lambda: (
        tf.EuroBertConfig(**SMALL, **TOKENS, head_dim=10, attention_bias=True, mlp_bias=True, rope_parameters=LINEAR),
        tf.AutoModel,
        2.5,
    ),
    "nomic-bert": lambda: (tf.NomicBertConfig(**SMALL, layer_norm_eps=1e-5), tf.AutoModel, 2.5),
    "modern-bert": lambda: (tf.ModernBertConfig(**{**MODERN, "num_hidden_layers": 5}), tf.AutoModel, 2.5),
    "modern-bert-biased": lambda: (
        tf.ModernBertConfig(
            **MODERN, **BIASED, hidden_activation="silu", layer_types=["sliding_attention", "full_attention", "sliding_attention"]
        ),
        tf.AutoModel,
        2.5,
    ),
}
