"""The forward pass of a small Llama of transformers, in bfloat16 and with few operations: a little faster to train on a CPU core.

A pass over short sequences of narrow vectors spends its time between the matrix products, so products of one input are one product here,
and nothing is rounded up and down again.
"""

from __future__ import annotations

import torch
from torch.nn.functional import embedding, linear, rms_norm, silu
from transformers import LlamaForCausalLM


def hidden_states(model: LlamaForCausalLM, ids: torch.Tensor) -> torch.Tensor:
    """Of ids, int64 [B, T]: the last hidden states, normed; bfloat16 [B, T, hidden].

    For models with as many heads of keys and values as of queries.
    """
    config, (batch, length) = model.config, ids.shape
    heads, head_dim, eps = config.num_attention_heads, config.head_dim, config.rms_norm_eps
    assert config.num_key_value_heads == heads
    cos, sin = rotations(length, head_dim, float(config.rope_parameters["rope_theta"]))
    future = torch.full((length, length), -torch.inf, dtype=torch.bfloat16).triu(1)
    x = embedding(ids, model.model.embed_tokens.weight).bfloat16()
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        projection = joined(attention.q_proj, attention.k_proj, attention.v_proj)
        y = linear(normed(x, layer.input_layernorm, eps), projection).view(batch, length, 3 * heads, head_dim).transpose(1, 2)
        queries, keys = rotated(y[:, : 2 * heads], cos, sin).chunk(2, 1)
        scores = queries @ keys.transpose(2, 3) * head_dim**-0.5 + future
        y = (scores.softmax(-1) @ y[:, 2 * heads :]).transpose(1, 2).reshape(batch, length, heads * head_dim)
        x = x + linear(y, attention.o_proj.weight.bfloat16())
        gate, up = linear(normed(x, layer.post_attention_layernorm, eps), joined(mlp.gate_proj, mlp.up_proj)).chunk(2, -1)
        x = x + linear(silu(gate) * up, mlp.down_proj.weight.bfloat16())
    return normed(x, model.model.norm, eps)


def normed(x: torch.Tensor, norm: torch.nn.Module, eps: float) -> torch.Tensor:
    return rms_norm(x, x.shape[-1:], norm.weight.bfloat16(), eps)


def joined(*projections: torch.nn.Linear) -> torch.Tensor:
    """The matrices of several projections of one input as one, bfloat16 [sum of outputs, inputs]."""
    return torch.cat([projection.weight.bfloat16() for projection in projections])


def rotations(length: int, head_dim: int, theta: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosines and sines of the rotary angles, bfloat16 [T, head_dim / 2]."""
    angles = torch.arange(length)[:, None] * theta ** (-torch.arange(0, head_dim, 2) / head_dim)
    return angles.cos().bfloat16(), angles.sin().bfloat16()


def rotated(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    """x [..., T, head_dim], turned in pairs (i, i + head_dim / 2)."""
    first, second = x.chunk(2, -1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), -1)
