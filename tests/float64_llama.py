"""A llama in float64 from nothing but numpy and the gguf package: exact logits of a GGUF file's dequantized weights."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Llama:
    """Rope on adjacent pairs, grouped-query attention, gated silu; no scaling, no experts."""

    def __init__(self, path: Path) -> None:
        reader = gguf.GGUFReader(str(path))
        self.tensors = {t.name: self._dequantized(t) for t in reader.tensors}
        self.products: list[tuple[str, Array]] = []  # the matrices multiplied by, each with what it met
        self.keys = {name.removeprefix("llama."): field.contents() for name, field in reader.fields.items()}

    @staticmethod
    def _dequantized(tensor: Any) -> Array:
        shape = tuple(int(n) for n in reversed(tensor.shape))
        return gguf.quants.dequantize(tensor.data, tensor.tensor_type).reshape(shape).astype(np.float64)

    def linear(self, x: Array, name: str) -> Array:
        self.products.append((name, x))
        return x @ self.tensors[name].T

    def norm(self, x: Array, name: str) -> Array:
        eps = float(self.keys["attention.layer_norm_rms_epsilon"])
        return np.asarray(x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * self.tensors[name])

    def rope(self, x: Array) -> Array:
        """x [T, H, D]."""
        theta, dim = float(self.keys.get("rope.freq_base", 10000.0)), x.shape[-1]
        angle = np.arange(len(x))[:, None] * theta ** (-np.arange(0, dim, 2) / dim)
        cosine, sine = np.cos(angle)[:, None], np.sin(angle)[:, None]
        even, odd = x[..., 0::2], x[..., 1::2]
        return np.stack([even * cosine - odd * sine, even * sine + odd * cosine], -1).reshape(x.shape)

    def attention(self, x: Array, layer: str) -> Array:
        heads = int(self.keys["attention.head_count"])
        shared = heads // int(self.keys["attention.head_count_kv"])
        q, k, v = (self.linear(x, f"{layer}.attn_{part}.weight") for part in "qkv")
        dim = q.shape[-1] // heads
        query, key = self.rope(q.reshape(len(x), heads, dim)), self.rope(k.reshape(len(x), -1, dim))
        key, value = key.repeat(shared, 1), v.reshape(len(x), -1, dim).repeat(shared, 1)
        scores = np.einsum("thd,shd->hts", query, key) / np.sqrt(dim)
        scores = np.where(np.tri(len(x), dtype=bool), scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        out = np.einsum("hts,shd->thd", weights / weights.sum(-1, keepdims=True), value)
        return self.linear(out.reshape(len(x), -1), f"{layer}.attn_output.weight")

    def logprobs(self, tokens: Sequence[int]) -> Array:
        """[T, vocab]."""
        x = self.tensors["token_embd.weight"][list(tokens)]
        for i in range(int(self.keys["block_count"])):
            x = x + self.attention(self.norm(x, f"blk.{i}.attn_norm.weight"), f"blk.{i}")
            h = self.norm(x, f"blk.{i}.ffn_norm.weight")
            gate, up = (self.linear(h, f"blk.{i}.ffn_{part}.weight") for part in ("gate", "up"))
            x = x + self.linear(gate / (1 + np.exp(-gate)) * up, f"blk.{i}.ffn_down.weight")
        head = "output.weight" if "output.weight" in self.tensors else "token_embd.weight"
        logits = self.linear(self.norm(x, "output_norm.weight"), head)
        top = logits.max(-1, keepdims=True)
        return np.asarray(logits - top - np.log(np.exp(logits - top).sum(-1, keepdims=True)))
