"""What recurrent mixers share: their slots, and the short convolution before the recurrence."""

from __future__ import annotations

from heron.graph.graph import Field, Group, Value
from heron.models.builder import ModelBuilder

#: All recurrent states of a model: a sequence has one slot in it.
SLOTS = Group("recurrent", "slot")


def short_convolution(
    b: ModelBuilder, x: Value, kernel: int, state: str = "conv", unit: int = 1, part: tuple[int, int] | None = None
) -> Value:
    """silu of each channel's convolution with its last ``kernel`` tokens: x [T, C] -> [T, C].

    ``part`` names the rows of ``ssm_conv1d`` that are these channels', where it holds others' too; ``unit`` channels split together.
    """
    size = x.shape[-1]
    assert isinstance(size, int)
    taps = b.weight("ssm_conv1d.weight", size, kernel, role="head", unit=unit, part=part)
    bias = b.maybe("ssm_conv1d.bias", size, role="head", unit=unit, part=part)
    window = b.layer_state(state, SLOTS, window=Field((kernel - 1, size), "f32"))
    return b.activation(b.causal_conv(x, taps, bias, window), "silu")
