"""Feed-forward blocks that every token passes."""

from __future__ import annotations

from dataclasses import dataclass

from heron.graph.graph import Value
from heron.models.builder import ModelBuilder

#: What configurations call the tanh approximation of gelu, which is "gelu" here.
TANH_GELU = ("gelu_new", "gelu_pytorch_tanh", "gelu_fast")


@dataclass(frozen=True)
class GatedMLP:
    """``down(kind(gate(x)) * up(x))`` (Shazeer 2020). ``suffix`` names a variant: ``_shexp`` for shared experts.

    Without ``ffn_gate``, ``ffn_up`` holds both: the gate's rows, then up's.
    """

    width: int
    kind: str = "silu"
    suffix: str = ""

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        with b.scope(f"ffn{self.suffix}"):
            stored: list[tuple[str, tuple[int, int] | None]] = [(f"ffn_gate{self.suffix}", None), (f"ffn_up{self.suffix}", None)]
            if not b.has(f"ffn_gate{self.suffix}.weight"):
                stored = [(f"ffn_up{self.suffix}", (at, at + self.width)) for at in (0, self.width)]
            weights = [b.weight(f"{name}.weight", self.width, hidden, role="columns", part=part) for name, part in stored]
            biases = [b.maybe(f"{name}.bias", self.width, role="columns", part=part) for name, part in stored]
            middle = b.gated_linear(x, weights, biases, self.kind)
            down = b.weight(f"ffn_down{self.suffix}.weight", hidden, self.width, role="rows")
            return b.linear(middle, down, b.maybe(f"ffn_down{self.suffix}.bias", hidden))


@dataclass(frozen=True)
class MLP:
    """``down(kind(up(x)))``, without a gate."""

    width: int
    kind: str = "gelu"

    def build(self, b: ModelBuilder, x: Value) -> Value:
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        with b.scope("ffn"):
            up = b.weight("ffn_up.weight", self.width, hidden, role="columns")
            middle = b.activation(b.linear(x, up, b.maybe("ffn_up.bias", self.width, role="columns")), self.kind)
            down = b.weight("ffn_down.weight", hidden, self.width, role="rows")
            return b.linear(middle, down, b.maybe("ffn_down.bias", hidden))
