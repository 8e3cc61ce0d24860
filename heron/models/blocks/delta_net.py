"""Gated delta net: a linear attention whose state, one matrix a head, is corrected by what it misses of each token."""

from __future__ import annotations

from dataclasses import dataclass

from heron.graph.dims import T
from heron.graph.graph import Field, Value
from heron.models.blocks.norm import Norm
from heron.models.blocks.recurrence import SLOTS, short_convolution
from heron.models.builder import ModelBuilder


@dataclass(frozen=True)
class GatedDeltaNet:
    """Yang et al. 2024, with short convolutions on q, k and v, unit q and k, a gated norm of each head.

    Value heads h * r ... h * r + r - 1 share key head h; everything splits between key heads. Weights: ``attn_qkv``
    (all of q, then k, then v) and ``attn_gate``, or in older files ``ssm_in`` (q, k, v and gate of one key head, then of the
    next); ``ssm_ba`` (beta, then decay of one key head, then of the next); ``ssm_conv1d`` (as attn_qkv), ``ssm_dt.bias``,
    ``ssm_a``, ``ssm_norm``, ``ssm_out``.
    """

    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    kernel: int  # tokens that a convolution spans
    norm: Norm  # of each head's output, before the gate: ssm_norm
    unit_eps: float = 1e-6  # added to the square that q and k are divided by the root of

    @property
    def shared(self) -> int:
        """Value heads of one key head."""
        return self.value_heads // self.key_heads

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """The rows of q, k, v and the gate: (those of one key head, those of all)."""
        sizes = {"q": self.key_dim, "k": self.key_dim, "v": self.shared * self.value_dim, "gate": self.shared * self.value_dim}
        return {name: (unit, unit * self.key_heads) for name, unit in sizes.items()}

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden, width = x.shape[-1], self.value_heads * self.value_dim
        assert isinstance(hidden, int)
        with b.scope("delta_net"):
            query, key, value, gate, mixed = self._project(b, x, hidden)
            query, key, value = self._convolve(b, query, key, value)
            query, key = self._unit(b, query, self.key_dim**-0.5), self._unit(b, key, 1.0)
            value, gate = (b.reshape(head, T, self.value_heads, self.value_dim) for head in (value, gate))
            beta, decay = self._gates(b, mixed)
            state = b.layer_state("delta", SLOTS, matrix=Field((self.value_heads, self.key_dim, self.value_dim), "f32"))
            out = b.delta_rule(query, key, value, decay, beta, state)
            out = b.reshape(b.glu(gate, self.norm.build(b, out, "ssm_norm"), "silu"), T, width)
            return b.linear(out, b.weight("ssm_out.weight", hidden, width, role="rows", unit=self.shared * self.value_dim))

    def _project(self, b: ModelBuilder, x: Value, hidden: int) -> tuple[Value, ...]:
        """Queries, keys, values and gate, each flat and all heads together; and beta and decay of each key head."""
        parts, pair = self.parts, 2 * self.shared
        mix = b.weight("ssm_ba.weight", pair * self.key_heads, hidden, role="columns", unit=pair)
        if b.has("ssm_in.weight"):
            units = [unit for unit, _ in parts.values()]
            fused = b.weight("ssm_in.weight", sum(units) * self.key_heads, hidden, role="columns", unit=sum(units))
            together, mixed = b.packed_linear(x, (fused, mix), (None, None))
            heads = b.split(b.reshape(together, T, self.key_heads, sum(units)), *units)
            return *(b.reshape(head, T, size) for head, (_, size) in zip(heads, parts.values(), strict=True)), mixed
        unit, size = parts.pop("gate")
        weights, at = [], 0
        for part_unit, part_size in parts.values():
            weights.append(b.weight("attn_qkv.weight", part_size, hidden, role="columns", unit=part_unit, part=(at, at + part_size)))
            at += part_size
        weights += [b.weight("attn_gate.weight", size, hidden, role="columns", unit=unit), mix]
        return b.packed_linear(x, weights, (None,) * len(weights))

    def _convolve(self, b: ModelBuilder, *values: Value) -> list[Value]:
        """The short convolution of q, k and v, each by a node of its own, so that heads can be split."""
        convolved, at = [], 0
        for (name, (unit, size)), value in zip(self.parts.items(), values, strict=False):
            convolved.append(short_convolution(b, value, self.kernel, f"conv_{name}", unit, (at, at + size)))
            at += size
        return convolved

    def _unit(self, b: ModelBuilder, x: Value, factor: float) -> Value:
        """factor * x / sqrt(sum(x^2) + eps) for each head: an RMS norm, but that divides by the root of the mean."""
        heads = b.reshape(x, T, self.key_heads, self.key_dim)
        return b.scale(b.rms_norm(heads, None, self.unit_eps / self.key_dim), factor * self.key_dim**-0.5)

    def _gates(self, b: ModelBuilder, mixed: Value) -> tuple[Value, Value]:
        """beta [T, Hv], how far the state is corrected, and log decay [T, Hv], ``ssm_a * softplus(a + dt)``; ssm_a < 0."""
        beta, decay = b.split(b.reshape(mixed, T, self.key_heads, 2 * self.shared), self.shared, self.shared)
        beta, decay = (b.reshape(each, T, self.value_heads) for each in (beta, decay))
        step, rate = (b.weight(name, self.value_heads, role="head", unit=self.shared) for name in ("ssm_dt.bias", "ssm_a"))
        return b.activation(beta, "sigmoid"), b.gain(b.activation(b.bias(decay, step), "softplus"), rate)
