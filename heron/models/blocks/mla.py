"""Multi-head latent attention: the cache keeps one small latent a token, from which every head's keys and values are made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from heron.checkpoint.tensor import Tensor
from heron.checkpoint.transforms import split_kv_b
from heron.graph.dims import T
from heron.graph.graph import Field, Group, Value, Weight
from heron.models.blocks.norm import Norm
from heron.models.blocks.rope import Rope
from heron.models.builder import ModelBuilder


@dataclass(frozen=True)
class MLA:
    """DeepSeek-AI 2024. A head's key is ``nope`` elements from the latent beside ``rope.dims`` that turn, which all heads share.

    Weights: ``attn_q``, or with ``query_rank`` > 0 ``attn_q_a``, ``attn_q_a_norm`` and ``attn_q_b``; ``attn_kv_a_mqa`` (latent,
    then rope key), ``attn_kv_a_norm`` (of the latent), ``attn_k_b`` and ``attn_v_b``, or in older files both in
    ``attn_kv_b``; ``attn_output``; biases of attn_q_a, attn_kv_a_mqa and attn_output where the checkpoint has them.
    ``form`` is ``absorbed``, ``expanded`` or ``auto`` (heron/graph/ops_attention.py).
    """

    heads: int
    rank: int  # of the latent
    nope: int
    value_dim: int
    rope: Rope
    norm: Norm
    query_rank: int = 0
    form: str = "auto"

    @property
    def key_dim(self) -> int:
        return self.nope + self.rope.dims

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        with b.scope("mla"):
            query, compressed = self._project(b, x, hidden)
            nope, query_rope = b.split(b.reshape(query, T, self.heads, self.key_dim), self.nope, self.rope.dims)
            latent, key_rope = b.split(compressed, self.rank, self.rope.dims)
            key_rope = b.reshape(self.rope.build(b, b.reshape(key_rope, T, 1, self.rope.dims)), T, self.rope.dims)
            state = b.layer_state("latent", Group("full", "token"), latent=Field((self.rank,)), rope=Field((self.rope.dims,)))
            b.latent_write(self.norm.build(b, latent, "attn_kv_a_norm"), key_rope, state)
            scale = self.key_dim**-0.5 * self.rope.scaling.sharpness
            out = b.latent_attend(nope, self.rope.build(b, query_rope), *self._up_projections(b), state, scale, self.form)
            width = self.heads * self.value_dim
            weight = b.weight("attn_output.weight", hidden, width, role="rows", unit=self.value_dim)
            return b.linear(b.reshape(out, T, width), weight, b.maybe("attn_output.bias", hidden))

    def _project(self, b: ModelBuilder, x: Value, hidden: int) -> tuple[Value, Value]:
        """Queries [T, heads * key_dim], and latent and rope key [T, rank + rope.dims], neither of them normed or turned."""
        size = self.rank + self.rope.dims
        down, down_bias = b.weight("attn_kv_a_mqa.weight", size, hidden), b.maybe("attn_kv_a_mqa.bias", size)
        width = self.heads * self.key_dim
        if not self.query_rank:
            query = b.linear(x, b.weight("attn_q.weight", width, hidden, role="columns", unit=self.key_dim))
            return query, b.linear(x, down, down_bias)
        first, first_bias = b.weight("attn_q_a.weight", self.query_rank, hidden), b.maybe("attn_q_a.bias", self.query_rank)
        query, compressed = b.packed_linear(x, (first, down), (first_bias, down_bias))
        second = b.weight("attn_q_b.weight", width, self.query_rank, role="columns", unit=self.key_dim)
        return b.linear(self.norm.build(b, query, "attn_q_a_norm"), second), compressed

    def _up_projections(self, b: ModelBuilder) -> tuple[Weight, Weight]:
        """From the latent to keys [heads, rank, nope] and to values [heads, value_dim, rank]."""
        key_shape, value_shape = (self.heads, self.rank, self.nope), (self.heads, self.value_dim, self.rank)
        if not b.has("attn_kv_b.weight"):
            return b.weight("attn_k_b.weight", *key_shape, role="head"), b.weight("attn_v_b.weight", *value_shape, role="head")

        def half(which: int) -> Callable[[Tensor], Tensor]:
            return lambda fused: split_kv_b(fused, self.heads, self.nope, self.value_dim)[which]

        return (
            b.view("attn_k_b.weight", *key_shape, stored="attn_kv_b.weight", look=half(0), role="head"),
            b.view("attn_v_b.weight", *value_shape, stored="attn_kv_b.weight", look=half(1), role="head"),
        )
