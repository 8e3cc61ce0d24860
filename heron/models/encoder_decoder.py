"""Encoder-decoder: two entries. ``encode`` reads the source and writes each decoder layer's cross keys and values, once;
``forward`` decodes, and attends to them.

Raffel et al. 2020: norms before sublayers, no scale on scores, a relative bias shared by all layers of a stack.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heron.errors import CheckpointError
from heron.graph.dims import P, T
from heron.graph.graph import Field, Graph, Group, Model, State, Value, Weight
from heron.models.blocks.attention import Heads
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Sublayer
from heron.models.builder import ModelBuilder, Weights
from heron.models.decoder import Head, vocabulary
from heron.models.params import Params

FULL, CROSS = Group("full", "token"), Group("cross", "cross")


@dataclass(frozen=True)
class RelativeAttention:
    """Attention whose scores have a bias by distance instead of positions. ``max_distance`` is where buckets end."""

    heads: Heads
    buckets: int
    max_distance: int

    def bias(self, b: ModelBuilder, stack: str) -> Weight:
        """The stack's bias, which its first layer holds."""
        return b.weight(f"{stack}.blk.0.attn_rel_b.weight", self.buckets, self.heads.queries)

    def project(self, b: ModelBuilder, x: Value, name: str) -> Value:
        """x [T, hidden] -> [T, H, D]."""
        h, width = self.heads, x.shape[-1]
        assert isinstance(width, int)
        weight = b.weight(f"{name}.weight", h.queries * h.dim, width, role="columns", unit=h.dim)
        return b.reshape(b.linear(x, weight), T, h.queries, h.dim)

    def output(self, b: ModelBuilder, x: Value, name: str, hidden: int) -> Value:
        h = self.heads
        weight = b.weight(f"{name}.weight", hidden, h.queries * h.dim, role="rows", unit=h.dim)
        return b.linear(b.reshape(x, T, h.queries * h.dim), weight)

    def itself(self, b: ModelBuilder, x: Value, bias: Weight, causal: bool) -> Value:
        """Attention to the same stack: with a cache when causal, within the step when not."""
        query, key, value = (self.project(b, x, f"attn_{part}") for part in "qkv")
        attrs: dict[str, Any] = {"scale": 1.0, "causal": causal, "max_distance": self.max_distance, "bidirectional": not causal}
        if causal:
            state = b.layer_state("kv", FULL, **self._fields())
            out = b.attention(query, key, value, state, (None, bias), **attrs)
        else:
            out = b.attend(query, key, value, weights=(None, bias), **attrs)
        return self.output(b, out, "attn_o", self._width(x))

    def write_source(self, b: ModelBuilder, source: Value) -> None:
        """Keys and values of the source for one decoder layer."""
        key, value = (self.project(b, source, f"cross_attn_{part}") for part in "kv")
        b.kv_write(key, value, self._cross(b))

    def to_source(self, b: ModelBuilder, x: Value) -> Value:
        query = self.project(b, x, "cross_attn_q")
        out = b.attend(query, state=self._cross(b), scale=1.0, causal=False, value_dim=self.heads.dim)
        return self.output(b, out, "cross_attn_o", self._width(x))

    def _cross(self, b: ModelBuilder) -> State:
        return b.layer_state("cross", CROSS, **self._fields())

    def _fields(self) -> dict[str, Field]:
        return {name: Field((self.heads.queries, self.heads.dim)) for name in ("key", "value")}

    @staticmethod
    def _width(x: Value) -> int:
        width = x.shape[-1]
        assert isinstance(width, int)
        return width


@dataclass(frozen=True)
class EncoderDecoder:
    """The same attention and feed-forward block in every layer of both stacks."""

    encoder_layers: int
    decoder_layers: int
    attention: RelativeAttention
    ffn: Sublayer
    norm: Norm
    head: Head
    start: int  # the token that decoding begins with

    def encode(self, weights: Weights, hidden: int, vocab: int) -> Graph:
        """Source tokens [T] -> hidden [T, hidden]; writes the cross states; marks ``hidden:i``."""
        b = ModelBuilder("encode", weights)
        x = b.insert_embeds(b.embed(b.input("tokens", (T,), "i32"), b.weight("token_embd.weight", vocab, hidden, role="vocab")))
        bias = self.attention.bias(b, "enc")
        delta: Value | None = None
        for i in range(self.encoder_layers):
            with b.layer(f"enc.blk.{i}"):
                x, normed = self.norm.enter(b, x, delta, "attn_norm")
                b.mark(f"hidden:{i}", x)
                x, normed = self.norm.enter(b, x, self.attention.itself(b, normed, bias, causal=False), "ffn_norm")
                delta = self.ffn.build(b, normed)
        x, source = self.norm.enter(b, x, delta, "enc.output_norm")
        b.mark(f"hidden:{self.encoder_layers}", x)
        for i in range(self.decoder_layers):
            with b.layer(f"dec.blk.{i}"):
                self.attention.write_source(b, source)
        return b.finish(hidden=source)

    def forward(self, weights: Weights, hidden: int, vocab: int) -> Graph:
        """Tokens [T] -> logits [R, vocab], reading the cross states; marks ``hidden:i``."""
        b = ModelBuilder("forward", weights)
        tokens = b.input("tokens", (T,), "i32")
        b.input("positions", (P, T), "i32")
        x = b.insert_embeds(b.embed(tokens, b.weight("token_embd.weight", vocab, hidden, role="vocab")))
        bias = self.attention.bias(b, "dec")
        delta: Value | None = None
        for i in range(self.decoder_layers):
            with b.layer(f"dec.blk.{i}"):
                x, normed = self.norm.enter(b, x, delta, "attn_norm")
                b.mark(f"hidden:{i}", x)
                x, normed = self.norm.enter(b, x, self.attention.itself(b, normed, bias, causal=True), "cross_attn_norm")
                x, normed = self.norm.enter(b, x, self.attention.to_source(b, normed), "ffn_norm")
                delta = self.ffn.build(b, normed)
        x, normed = self.norm.enter(b, x, delta, "dec.output_norm")
        b.mark(f"hidden:{self.decoder_layers}", x)
        return b.finish(logits=self.head.build(b, b.rows(normed), vocab))

    def model(self, p: Params, weights: Weights) -> Model:
        vocab = vocabulary(p, weights)
        if self.start >= vocab:
            raise CheckpointError(f"{p.where}: decoding begins with token {self.start}, and there are {vocab}; convert the file again")
        entries = {"encode": self.encode(weights, p.hidden, vocab), "forward": self.forward(weights, p.hidden, vocab)}
        return Model(p.architecture, entries, p.context_length, vocab, p.hidden, decoder_start=self.start)
