"""Softmax attention over a paged cache, made of parts: projections, head norms, positions, score, mask, gate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heron.graph.dims import T
from heron.graph.graph import Field, Group, Value, Weight
from heron.models.blocks.norm import Norm
from heron.models.blocks.rope import Rope
from heron.models.builder import ModelBuilder
from heron.models.params import Params


@dataclass(frozen=True)
class Heads:
    """How many query heads, how many heads of keys and values they share, and the size of each."""

    queries: int
    key_values: int
    dim: int
    value_dim: int = 0  # 0: as dim

    @staticmethod
    def read(p: Params) -> Heads:
        """From the usual metadata keys (``attention.*``)."""
        queries = p.integer("attention.head_count", least=1)
        dim = p.integer("attention.key_length", p.hidden // queries, least=1)
        key_values = p.integer("attention.head_count_kv", queries, least=1)
        return Heads(queries, key_values, dim, p.integer("attention.value_length", dim, least=1))

    @property
    def values(self) -> int:
        return self.value_dim or self.dim

    @property
    def shared(self) -> int:
        """Query heads that belong together: tensor parallelism splits between them, or, with one kv head, anywhere."""
        return self.queries // self.key_values if self.key_values > 1 else 1


@dataclass(frozen=True)
class Score:
    """What happens to q.k before the softmax. ``scale`` 0 means 1/sqrt(head dim); ``sinks`` reads ``attn_sinks``.

    ``alibi`` > 0: scores fall with distance, by slopes from 2^-(alibi / heads) to 2^-alibi (Press et al. 2021).
    """

    scale: float = 0.0
    softcap: float = 0.0
    sinks: bool = False
    alibi: float = 0.0

    def slopes(self, heads: int) -> list[float]:
        """One a head: powers of a ratio; for heads beyond a power of two, every other one of the next power's."""
        whole = 2 ** (heads.bit_length() - 1)
        first = [2.0 ** (-self.alibi * (i + 1) / whole) for i in range(whole)]
        return first + [2.0 ** (-self.alibi * (2 * i + 1) / (2 * whole)) for i in range(heads - whole)]


@dataclass(frozen=True)
class Mask:
    """Which tokens a token sees. ``window`` > 0: only the last so many. Not ``cached``: those of this step alone, without state."""

    causal: bool = True
    window: int = 0
    cached: bool = True

    @staticmethod
    def each(p: Params, period: int = 0) -> tuple[Mask, ...]:
        """One a layer: the window ``attention.sliding_window`` in the layers that ``attention.sliding_window_pattern`` names.

        In files that do not say which, every ``period``-th layer sees all (0: none does).
        """
        window = p.integer("attention.sliding_window", 0)
        if not window:
            return (Mask(),) * p.layers
        local = p.pattern("attention.sliding_window_pattern", p.layers, period)
        return tuple(Mask(window=window if windowed else 0) for windowed in local)

    def group(self) -> Group:
        return Group(f"window.{self.window}", "token", self.window) if self.window else Group("full", "token")


@dataclass(frozen=True)
class Gate:
    """The attention output multiplied by ``kind`` of a gate, which the query projection emits beside each head's query."""

    kind: str = "sigmoid"


@dataclass(frozen=True)
class Attention:
    """Weights ``attn_q``, ``attn_k``, ``attn_v`` (or ``attn_qkv``), ``attn_output``; biases where the checkpoint has them.

    Queries and keys may be normalized before rope, by ``attn_q_norm`` and ``attn_k_norm``: each head (``head_norm``), or the whole
    projection before it is cut into heads (``wide_norm``). ``clip`` > 0 then bounds queries, keys and values to [-clip, clip].
    """

    heads: Heads
    rope: Rope | None = None
    head_norm: Norm | None = None
    wide_norm: Norm | None = None
    clip: float = 0.0
    score: Score = Score()
    mask: Mask = Mask()
    gate: Gate | None = None

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        h = self.heads
        with b.scope("attn"):
            query, key, value = self._project(b, x)
            if self.wide_norm:
                query, key = self.wide_norm.build(b, query, "attn_q_norm"), self.wide_norm.build(b, key, "attn_k_norm")
            if self.clip:
                query, key, value = (b.clamp(v, -self.clip, self.clip) for v in (query, key, value))
            gate = None
            if self.gate:
                query, gate = b.split(b.reshape(query, T, h.queries, 2 * h.dim), h.dim, h.dim)
            query = b.reshape(query, T, h.queries, h.dim)
            key = b.reshape(key, T, h.key_values, h.dim)
            value = b.reshape(value, T, h.key_values, h.values)
            if self.head_norm:
                query, key = self.head_norm.build(b, query, "attn_q_norm"), self.head_norm.build(b, key, "attn_k_norm")
            out = self._attend(b, query, key, value)
            if self.gate and gate is not None:
                out = b.mul(out, b.activation(gate, self.gate.kind))
            return self._output(b, b.reshape(out, T, h.queries * h.values), x)

    def _project(self, b: ModelBuilder, x: Value) -> tuple[Value, ...]:
        h, width = self.heads, x.shape[-1]
        assert isinstance(width, int)
        query_dim = h.dim * (2 if self.gate else 1)
        sizes = (h.queries * query_dim, h.key_values * h.dim, h.key_values * h.values)
        units = (h.shared * query_dim, h.dim, h.values)
        weights: list[Weight] = []
        biases: list[Weight | None] = []
        at = 0
        for name, size, unit in zip(("attn_q", "attn_k", "attn_v"), sizes, units, strict=True):
            part = (at, at + size) if b.has("attn_qkv.weight") else None
            name = "attn_qkv" if part else name
            weights.append(b.weight(f"{name}.weight", size, width, role="columns", unit=unit, part=part))
            biases.append(b.maybe(f"{name}.bias", size, role="columns", unit=unit, part=part))
            at += size
        return b.packed_linear(x, weights, biases)

    def _attend(self, b: ModelBuilder, query: Value, key: Value, value: Value) -> Value:
        h = self.heads
        attrs: dict[str, Any] = {"scale": self.score.scale or h.dim**-0.5, "causal": self.mask.causal}
        attrs |= {"window": self.mask.window} if self.mask.window else {}
        attrs |= {"softcap": self.score.softcap} if self.score.softcap else {}
        weights = self._score_weights(b)
        rope = self.rope and self.rope.paired(b.pairing("attn_q.weight", self.rope.pairing))
        if not self.mask.cached:
            query, key = (rope.build(b, query), rope.build(b, key)) if rope else (query, key)
            return b.attend(query, key, value, weights=weights, **attrs)
        fields = {"key": Field((h.key_values, h.dim)), "value": Field((h.key_values, h.values))}
        state = b.layer_state("kv", self.mask.group(), **fields)
        if rope:
            return rope.attention(b, query, key, value, state, weights, **attrs)
        return b.attention(query, key, value, state, weights, **attrs)

    def _score_weights(self, b: ModelBuilder) -> tuple[Weight | None, ...]:
        """Sinks, relative bias and slopes, up to the last that there is."""
        heads, score = self.heads, self.score
        sinks = b.weight("attn_sinks.weight", heads.queries, role="head", unit=heads.shared) if score.sinks else None
        if score.alibi:
            return sinks, None, b.constant(f"alibi.{score.alibi:g}", score.slopes(heads.queries))
        return () if sinks is None else (sinks,)

    def _output(self, b: ModelBuilder, out: Value, x: Value) -> Value:
        h, width = self.heads, x.shape[-1]
        assert isinstance(width, int)
        unit = h.shared * h.values
        return b.linear(
            out, b.weight("attn_output.weight", width, h.queries * h.values, role="rows", unit=unit), b.maybe("attn_output.bias", width)
        )
