"""Shape rules of ops with a state of fixed size a sequence. They read the slot the batch names and write the ones it names."""

from __future__ import annotations

from heron.graph.dims import shape_str
from heron.graph.ops import check, op
from heron.graph.ops_core import Attrs, Shapes, Weights


@op("causal_conv")
def _causal_conv(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, C]; W [C, K], bias [C] or none; state ``window`` [K-1, C] -> [T, C]: each channel's convolution with its last K inputs."""
    assert weights[0] is not None
    check(weights[0].shape[0] == inputs[0][-1], f"{weights[0].name} has {weights[0].shape[0]} channels, got {shape_str(inputs[0])}")
    return inputs


@op("delta_rule")
def _delta_rule(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q, k [T, H, Dk], v [T, H, Dv], g, beta [T, H]; state ``matrix`` [Hv, Dk, Dv] -> [T, Hv, Dv]. Yang et al. 2024 (gated delta nets).

    For each token: S = exp(g) S; S += k (beta (v - k S)); o = q S. q and k may have fewer heads than v
    (then value head h reads head h // (Hv / H)).
    """
    check(inputs[0] == inputs[1], f"queries {shape_str(inputs[0])} and keys {shape_str(inputs[1])} differ")
    return (inputs[2],)
