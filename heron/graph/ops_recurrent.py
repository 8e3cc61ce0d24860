"""Shape rules of ops with a state of fixed size a sequence. They read the slot the batch names and write the ones it names.

A node that names no state begins each sequence from zeros, and keeps nothing (heron/graph/passes/stateless.py).
"""

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


@op("selective_scan")
def _selective_scan(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, H, P], step [T, H], B, C [T, G, N]; A [H, N] or [H, 1]; state ``matrix`` [H, P, N] -> [T, H, P].

    For each token: S = exp(step A) S + step x B; y = S C. Head h reads group h // (H / G) of B and C.
    Gu and Dao 2023 (Mamba, P = 1: a decay for each number of the state); Dao and Gu 2024 (Mamba-2, A [H, 1]: one for each head).
    """
    x, step, write, read = inputs
    rate = weights[0]
    assert rate is not None
    check(x[:2] == step, f"steps {shape_str(step)} are not those of {shape_str(x)}")
    check(write == read, f"B {shape_str(write)} and C {shape_str(read)} differ")
    check(rate.shape in ((x[1], write[2]), (x[1], 1)), f"{rate.name} has {rate.shape}, its input {shape_str(x)}, B {shape_str(write)}")
    return (x,)


@op("delta_rule")
def _delta_rule(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q, k [T, H, Dk], v [T, H, Dv], g, beta [T, H]; state ``matrix`` [Hv, Dk, Dv] -> [T, Hv, Dv]. Yang et al. 2024 (gated delta nets).

    For each token: S = exp(g) S; S += k (beta (v - k S)); o = q S. q and k may have fewer heads than v
    (then value head h reads head h // (Hv / H)).
    """
    check(inputs[0] == inputs[1], f"queries {shape_str(inputs[0])} and keys {shape_str(inputs[1])} differ")
    return (inputs[2],)
