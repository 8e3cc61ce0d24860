"""Writes a trained Llama of transformers as GGUF: matrices in Q8_0, norms in F32, tokenizer and chat template in the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tokenizer import CHAT_TEMPLATE, END, END_OF_TEXT, SPECIAL, Vocabulary
from transformers import LlamaConfig, LlamaForCausalLM

from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

NAMES = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
NORMAL, CONTROL = 1, 3  # token types of GGUF


def export(path: Path, model: LlamaForCausalLM, vocabulary: Vocabulary) -> None:
    config = model.config
    tensors: dict[str, Tensor | NDArray[Any]] = {}
    for name, parameter in model.named_parameters():  # the tied head is not named again
        values = parameter.detach().numpy()
        if name.endswith(("q_proj.weight", "k_proj.weight")):
            values = adjacent_pairs(values, config.hidden_size // config.num_attention_heads)
        tensors[gguf_name(name)] = q8_0(values) if values.ndim == 2 else values
    write_gguf(path, {**hyperparameters(config), **tokenizer(vocabulary)}, tensors)


def round_as_written(model: LlamaForCausalLM) -> None:
    """Give the model the numbers that a file of it has."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.copy_(torch.from_numpy(q8_0(parameter.detach().numpy()).numpy()))


def gguf_name(name: str) -> str:
    """model.layers.3.mlp.up_proj.weight -> blk.3.ffn_up.weight"""
    stem = name.removesuffix(".weight")
    if stem in NAMES:
        return f"{NAMES[stem]}.weight"
    layer, part = stem.removeprefix("model.layers.").split(".", 1)
    return f"blk.{layer}.{NAMES[part]}.weight"


def adjacent_pairs(rows: NDArray[np.float32], head_dim: int) -> NDArray[np.float32]:
    """Rows [heads * head_dim, in] whose rope pairs are (i, i + head_dim / 2), reordered to (2i, 2i + 1) as GGUF's llama has them."""
    return rows.reshape(-1, 2, head_dim // 2, rows.shape[1]).swapaxes(1, 2).reshape(rows.shape)


def q8_0(values: NDArray[np.float32]) -> Tensor:
    fmt = FORMATS["Q8_0"]
    return MappedTensor(quantize(fmt, values).reshape(-1), values.shape, fmt)


def hyperparameters(config: LlamaConfig) -> dict[str, Any]:
    rope: Any = config.rope_parameters
    return {
        "general.architecture": "llama",
        "general.name": "Heron pocket",
        "general.license": "mit",
        "general.file_type": 7,  # mostly Q8_0
        "general.quantization_version": 2,
        "llama.vocab_size": config.vocab_size,
        "llama.context_length": config.max_position_embeddings,
        "llama.embedding_length": config.hidden_size,
        "llama.block_count": config.num_hidden_layers,
        "llama.feed_forward_length": config.intermediate_size,
        "llama.attention.head_count": config.num_attention_heads,
        "llama.attention.head_count_kv": config.num_key_value_heads,
        "llama.attention.key_length": config.head_dim,
        "llama.attention.value_length": config.head_dim,
        "llama.attention.layer_norm_rms_epsilon": config.rms_norm_eps,
        "llama.rope.dimension_count": config.head_dim,
        "llama.rope.freq_base": float(rope["rope_theta"]),
    }


def tokenizer(vocabulary: Vocabulary) -> dict[str, Any]:
    tokens = vocabulary.tokens()
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [CONTROL if token in SPECIAL else NORMAL for token in tokens],
        "tokenizer.ggml.merges": vocabulary.merges(),
        "tokenizer.ggml.bos_token_id": tokens.index(END_OF_TEXT),
        "tokenizer.ggml.eos_token_id": tokens.index(END),
        "tokenizer.ggml.padding_token_id": tokens.index(END_OF_TEXT),
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.ggml.add_eos_token": False,
        "tokenizer.chat_template": CHAT_TEMPLATE,
    }
