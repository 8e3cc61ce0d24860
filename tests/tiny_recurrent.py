"""Tiny configurations of families that are recurrences alone. Sizes differ from each other where they can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import transformers as tf

MAMBA: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "state_size": 10,
    "num_hidden_layers": 3,
    "time_step_rank": 6,
    "conv_kernel": 4,
    "layer_norm_epsilon": 1e-4,
}

MAMBA2: dict[str, Any] = {
    **{key: value for key, value in MAMBA.items() if key != "time_step_rank"},
    "num_heads": 8,
    "head_dim": 8,
    "n_groups": 2,
    "chunk_size": 16,
}
#: Together they hold both values of each boolean that the families' configurations have.
RECURRENT: dict[str, Callable[[], Any]] = {
    "mamba": lambda: tf.MambaConfig(**MAMBA),
    "mamba-biased": lambda: tf.MambaConfig(**{**MAMBA, "conv_kernel": 3}, use_bias=True, use_conv_bias=False, tie_word_embeddings=False),
    "falcon-mamba": lambda: tf.FalconMambaConfig(**MAMBA, mixer_rms_eps=0.03, tie_word_embeddings=False),
    "mamba2": lambda: tf.Mamba2Config(**MAMBA2),
    "mamba2-biased": lambda: tf.Mamba2Config(
        **{**MAMBA2, "n_groups": 1, "conv_kernel": 3}, use_bias=True, use_conv_bias=False, tie_word_embeddings=True
    ),
    "mamba2-limited": lambda: tf.Mamba2Config(**{**MAMBA2, "expand": 3, "num_heads": 12, "n_groups": 4}, time_step_limit=(0.05, 0.2)),
}
