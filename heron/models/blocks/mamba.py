"""Mamba: a state space model whose step, input and output depend on the token (S6)."""

from __future__ import annotations

from dataclasses import dataclass

from heron.graph.dims import T
from heron.graph.graph import Field, Value
from heron.models.blocks.norm import Norm
from heron.models.blocks.recurrence import SLOTS, short_convolution
from heron.models.builder import ModelBuilder


@dataclass(frozen=True)
class Mamba:
    """Gu and Dao 2023: each of ``inner`` channels has a state of ``size`` numbers, and each of these its own decay.

    Weights: ``ssm_in`` (all channels, then their gates), ``ssm_conv1d``, ``ssm_x`` (what gives the step, then B, then C),
    ``ssm_dt``, ``ssm_a`` (negative), ``ssm_d``, ``ssm_out``; biases of ``ssm_in`` and ``ssm_out`` where there are any.
    ``norm`` is applied to step, B and C, where there is one. Everything splits between channels.
    """

    inner: int
    size: int
    rank: int  # of what gives the step
    kernel: int  # tokens that the convolution spans
    norm: Norm | None = None

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden, inner = x.shape[-1], self.inner
        assert isinstance(hidden, int)
        with b.scope("mamba"):
            halves = ((0, inner), (inner, 2 * inner))
            weights = [b.weight("ssm_in.weight", inner, hidden, role="columns", part=half) for half in halves]
            biases = [b.maybe("ssm_in.bias", inner, role="columns", part=half) for half in halves]
            x, gate = b.packed_linear(x, weights, biases)
            x = short_convolution(b, x, self.kernel)
            step, write, read = self._selection(b, x)
            state = b.layer_state("scan", SLOTS, matrix=Field((inner, 1, self.size), "f32"))
            rate = b.weight("ssm_a", inner, self.size, role="head")
            scanned = b.selective_scan(b.reshape(x, T, inner, 1), step, write, read, rate, state)
            skipped = b.gain(x, b.weight("ssm_d", inner, role="head"))
            out = b.glu(gate, b.add(b.reshape(scanned, T, inner), skipped), "silu")
            return b.linear(out, b.weight("ssm_out.weight", hidden, inner, role="rows"), b.maybe("ssm_out.bias", hidden))

    def _selection(self, b: ModelBuilder, x: Value) -> tuple[Value, Value, Value]:
        """What each token chooses: the step of each channel [T, inner]; B and C [T, 1, size], which all channels share."""
        mixed = b.linear(x, b.weight("ssm_x.weight", self.rank + 2 * self.size, self.inner, role="rows"))
        parts = b.split(mixed, self.rank, self.size, self.size)
        if self.norm:
            names = ("ssm_dt_norm", "ssm_b_norm", "ssm_c_norm")
            parts = tuple(self.norm.build(b, part, name) for part, name in zip(parts, names, strict=True))
        low, write, read = parts
        weight, bias = b.weight("ssm_dt.weight", self.inner, self.rank, role="columns"), b.weight("ssm_dt.bias", self.inner, role="columns")
        step = b.activation(b.linear(low, weight, bias), "softplus")
        return step, b.reshape(write, T, 1, self.size), b.reshape(read, T, 1, self.size)
