"""Shape rules of mixture-of-experts routing. No value is sized by the router: each token has k experts, always."""

from __future__ import annotations

from heron.graph.dims import shape_str
from heron.graph.ops import check, op
from heron.graph.ops_core import Attrs, Shapes, Weights


@op("topk", dtypes=("f32", "i32"))
def _topk(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> the k largest, falling, and their indices i32; the lower index first among equals."""
    shape = (*inputs[0][:-1], attrs["k"])
    return (shape, shape)


@op("topk_mask")
def _topk_mask(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> [..., n]: 1 where x is among its k largest (the lower index among equals), else 0."""
    return inputs


@op("mask_fill")
def _mask_fill(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x, mask (broadcast) -> x where the mask is not 0, else ``value``."""
    return (inputs[0],)


@op("take")
def _take(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n], ids i32[..., k] -> [..., k]: the elements that the ids name."""
    return (inputs[1],)


@op("normalize")
def _normalize(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> x / max(sum(x), ``floor``) over the last axis."""
    return inputs


@op("expert_linear")
def _expert_linear(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, in] or [T, k, in], ids i32[T, k]; W [E, out, in], bias [E, out] or none -> [T, k, out].

    Row (t, j) is multiplied by expert ``ids[t, j] - first``; where that is outside the E experts held here
    (expert parallelism), the result is 0.
    """
    weight = weights[0]
    assert weight is not None
    check(inputs[0][-1] == weight.shape[2], f"{weight.name} takes {weight.shape[2]} inputs, got {shape_str(inputs[0])}")
    return ((*inputs[1], weight.shape[1]),)


@op("combine")
def _combine(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, k, d], w [T, k] -> [T, d]: the sum of the experts' outputs, weighted."""
    check(inputs[0][:-1] == inputs[1], f"outputs {shape_str(inputs[0])} and weights {shape_str(inputs[1])} differ")
    return ((inputs[0][0], inputs[0][-1]),)
