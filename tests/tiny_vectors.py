"""A model of vectors alone, by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from heron.checkpoint.gguf_writer import write_gguf


def encoder(path: Path) -> Path:
    """A bidirectional model of random weights, which gives vectors alone."""
    random = np.random.default_rng(3)

    def made(*shape: int) -> np.ndarray:
        return random.normal(0, 0.1, shape).astype(np.float32)

    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{letter}" for letter in "abcdefgh")]
    tensors = {"token_embd.weight": made(len(tokens), 32), "position_embd.weight": made(64, 32), "token_types.weight": made(2, 32)}
    shapes = {"attn_q": (32, 32), "attn_k": (32, 32), "attn_v": (32, 32), "attn_output": (32, 32), "ffn_up": (64, 32), "ffn_down": (32, 64)}
    for name, shape in shapes.items():
        tensors |= {f"blk.0.{name}.weight": made(*shape), f"blk.0.{name}.bias": made(shape[0])}
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        tensors |= {f"{name}.weight": 1 + made(32), f"{name}.bias": made(32)}
    keys = {"context_length": 64, "embedding_length": 32, "block_count": 1, "feed_forward_length": 64, "attention.head_count": 4}
    keys |= {"attention.layer_norm_epsilon": 1e-12, "attention.causal": False, "pooling_type": 1}
    metadata = {"general.architecture": "bert", "general.name": "tiny", **{f"bert.{key}": value for key, value in keys.items()}}
    metadata |= {"tokenizer.ggml.model": "bert", "tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": [3] * 5 + [1] * 8}
    metadata |= {"tokenizer.ggml.padding_token_id": 0, "tokenizer.ggml.unknown_token_id": 1, "tokenizer.ggml.cls_token_id": 2}
    write_gguf(path, metadata | {"tokenizer.ggml.seperator_token_id": 3, "tokenizer.ggml.mask_token_id": 4}, tensors)
    return path
