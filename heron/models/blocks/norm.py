"""Norms, and the way a sublayer's output enters the residual stream."""

from __future__ import annotations

from dataclasses import dataclass

from heron.graph.graph import Value
from heron.models.builder import ModelBuilder


@dataclass(frozen=True)
class Norm:
    """``rms`` (Zhang and Sennrich 2019) or ``layer`` (Ba et al. 2016) over the last axis.

    GGUF stores gains with any constant offset added, so there is none here. ``gain`` False has no parameters.
    """

    eps: float
    kind: str = "rms"
    gain: bool = True

    def build(self, b: ModelBuilder, x: Value, name: str) -> Value:
        size = x.shape[-1]
        assert isinstance(size, int)
        gain = b.weight(f"{name}.weight", size) if self.gain else None
        if self.kind == "rms":
            return b.rms_norm(x, gain, self.eps)
        return b.layer_norm(x, gain, b.maybe(f"{name}.bias", size), self.eps)

    def enter(self, b: ModelBuilder, x: Value, delta: Value | None, name: str) -> tuple[Value, Value]:
        """The residual stream with ``delta`` (the last sublayer's output) added, and its norm."""
        if delta is None:
            return x, self.build(b, x, name)
        if self.kind == "rms" and self.gain:
            size = x.shape[-1]
            assert isinstance(size, int)
            return b.add_rms_norm(x, delta, b.weight(f"{name}.weight", size), self.eps)
        total = b.add(x, delta)
        return total, self.build(b, total, name)


@dataclass(frozen=True)
class EachHead(Norm):
    """A norm of heads, x [T, H, D], with a gain [H, D] for each head; nothing where the checkpoint has no such gain."""

    def build(self, b: ModelBuilder, x: Value, name: str) -> Value:
        heads, size = x.shape[1:]
        assert isinstance(heads, int) and isinstance(size, int)
        gain = b.maybe(f"{name}.weight", heads, size, role="head")
        if gain is None:
            return x
        return b.rms_norm(x, gain, self.eps) if self.kind == "rms" else b.layer_norm(x, gain, None, self.eps)
