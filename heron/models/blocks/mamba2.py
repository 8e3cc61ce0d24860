"""Mamba-2: a state space model of heads, each with one decay (state space duality)."""

from __future__ import annotations

from dataclasses import dataclass

from heron.graph.dims import T
from heron.graph.graph import Field, Value
from heron.models.blocks.recurrence import SLOTS, short_convolution
from heron.models.builder import ModelBuilder


@dataclass(frozen=True)
class Mamba2:
    """Dao and Gu 2024: ``heads`` of ``dim`` channels, each with a state [dim, size]; ``groups`` of heads share B and C.

    Weights: ``ssm_in`` (all gates, then channels, B, C and steps), ``ssm_conv1d`` (channels, B and C), ``ssm_dt.bias``,
    ``ssm_a`` [heads, 1] (negative), ``ssm_d`` [heads, 1], ``ssm_norm`` [groups, inner / groups], ``ssm_out``; biases of
    ``ssm_in`` and ``ssm_out`` where there are any. Steps are kept within ``limits``, where there are any. Everything
    splits between groups, and under a single group all but the norm between heads.
    """

    heads: int
    dim: int
    groups: int
    size: int
    kernel: int  # tokens that the convolution spans
    eps: float  # of the norm of each group's output, after the gate
    limits: tuple[float, float] | None = None

    @property
    def inner(self) -> int:
        return self.heads * self.dim

    @property
    def share(self) -> int:
        """Heads that cannot be parted: those of one group, or one where all share B and C."""
        return self.heads // self.groups if self.groups > 1 else 1

    @property
    def parts(self) -> dict[str, tuple[int, int]]:
        """The rows of ``ssm_in``, in their order: (those that cannot be parted, all of them)."""
        channels, numbers = (self.share * self.dim, self.inner), (self.size, self.groups * self.size)
        return {"gate": channels, "x": channels, "b": numbers, "c": numbers, "step": (self.share, self.heads)}

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        with b.scope("mamba2"):
            gate, *convolved, step = self._project(b, x, hidden)
            x, write, read = self._convolve(b, *convolved)
            x = b.reshape(x, T, self.heads, self.dim)
            write, read = (b.reshape(each, T, self.groups, self.size) for each in (write, read))
            rate, skip = (b.weight(name, self.heads, 1, role="head", unit=self.share) for name in ("ssm_a", "ssm_d"))
            state = b.layer_state("scan", SLOTS, matrix=Field((self.heads, self.dim, self.size), "f32"))
            scanned = b.selective_scan(x, self._step(b, step), write, read, rate, state)
            out = b.reshape(b.add(scanned, b.gain(x, skip)), T, self.inner)
            return self._output(b, b.glu(gate, out, "silu"), hidden)

    def _project(self, b: ModelBuilder, x: Value, hidden: int) -> tuple[Value, ...]:
        weights, biases, at = [], [], 0
        for unit, rows in self.parts.values():
            part = (at, at + rows)
            weights.append(b.weight("ssm_in.weight", rows, hidden, role="columns", unit=unit, part=part))
            biases.append(b.maybe("ssm_in.bias", rows, role="columns", unit=unit, part=part))
            at += rows
        return b.packed_linear(x, weights, biases)

    def _convolve(self, b: ModelBuilder, *values: Value) -> list[Value]:
        """The short convolution of channels, B and C, each by a node of its own, so that groups can be split."""
        convolved, at = [], 0
        for name, value in zip("xbc", values, strict=True):
            unit, rows = self.parts[name]
            convolved.append(short_convolution(b, value, self.kernel, f"conv_{name}", unit, (at, at + rows)))
            at += rows
        return convolved

    def _step(self, b: ModelBuilder, step: Value) -> Value:
        step = b.activation(b.bias(step, b.weight("ssm_dt.bias", self.heads, role="head", unit=self.share)), "softplus")
        return b.clamp(step, *self.limits) if self.limits else step

    def _output(self, b: ModelBuilder, out: Value, hidden: int) -> Value:
        width = self.inner // self.groups
        gain = b.weight("ssm_norm.weight", self.groups, width, role="head")
        normed = b.reshape(b.rms_norm(b.reshape(out, T, self.groups, width), gain, self.eps), T, self.inner)
        weight = b.weight("ssm_out.weight", hidden, self.inner, role="rows", unit=width)
        return b.linear(normed, weight, b.maybe("ssm_out.bias", hidden))
