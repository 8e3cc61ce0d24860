"""Where norms stand around a layer's two sublayers: the mixer and the feed-forward block.

``build(b, x, delta, mixer, ffn)`` returns ``(start, x, delta)``: the residual stream at the layer's entry, the
stream, and the last sublayer's output not yet added to it, so that the addition can be fused with the next norm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from heron.graph.graph import Value
from heron.models.blocks.norm import Norm
from heron.models.builder import ModelBuilder

Stream = tuple[Value, Value, Value | None]


class Sublayer(Protocol):
    def build(self, b: ModelBuilder, x: Value) -> Value: ...


class Residual(Protocol):
    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream: ...


@dataclass(frozen=True)
class PreNorm:
    """``x += scale mixer(norm(x)); x += scale ffn(norm(x))``. With no name for its norm the mixer takes x as it is."""

    norm: Norm
    mixer_norm: str = "attn_norm"
    ffn_norm: str = "ffn_norm"
    scale: float = 1.0

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        if self.mixer_norm:
            start, normed = self.norm.enter(b, x, delta, self.mixer_norm)
        else:
            start = normed = x if delta is None else b.add(x, delta)
        x, normed = self.norm.enter(b, start, b.scale(mixer.build(b, normed), self.scale), self.ffn_norm)
        return start, x, b.scale(ffn.build(b, normed), self.scale)


@dataclass(frozen=True)
class Sandwich:
    """Pre-norms, and a norm on each sublayer's output (Rivière et al. 2024)."""

    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        start, normed = self.norm.enter(b, x, delta, "attn_norm")
        mixed = self.norm.build(b, mixer.build(b, normed), "post_attention_norm")
        x, normed = self.norm.enter(b, start, mixed, "ffn_norm")
        return start, x, self.norm.build(b, ffn.build(b, normed), "post_ffw_norm")


@dataclass(frozen=True)
class OutputNorm:
    """``x += norm(mixer(x)); x += norm(ffn(x))``: norms on the sublayers' outputs alone (Walsh et al. 2024)."""

    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        start = x if delta is None else b.add(x, delta)
        x = b.add(start, self.norm.build(b, mixer.build(b, start), "post_attention_norm"))
        return start, x, self.norm.build(b, ffn.build(b, x), "post_ffw_norm")


@dataclass(frozen=True)
class PostNorm:
    """``x = norm(x + mixer(x)); x = norm(x + ffn(x))``, as in the first transformers (Vaswani et al. 2017)."""

    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        assert delta is None
        _, middle = self.norm.enter(b, x, mixer.build(b, x), "attn_output_norm")
        _, out = self.norm.enter(b, middle, ffn.build(b, middle), "layer_output_norm")
        return x, out, None


@dataclass(frozen=True)
class Parallel:
    """``x += mixer(norm(x)) + ffn(norm(x))``: one norm for both, or, where ``ffn_norm`` names it, one for each."""

    norm: Norm
    mixer_norm: str = "attn_norm"
    ffn_norm: str = ""

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        start, normed = self.norm.enter(b, x, delta, self.mixer_norm)
        beside = self.norm.build(b, start, self.ffn_norm) if self.ffn_norm else normed
        return start, start, b.add(mixer.build(b, normed), ffn.build(b, beside))
