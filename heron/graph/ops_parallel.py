"""Ops that only passes insert: collectives between ranks, low-rank adapters, and sums of squares of what is multiplied."""

from __future__ import annotations

from heron.graph.ops import check, op
from heron.graph.ops_core import Attrs, Shapes, Weights


@op("all_reduce")
def _all_reduce(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x -> the sum of all ranks' x."""
    return inputs


@op("all_gather")
def _all_gather(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x -> all ranks' x joined along ``axis``, in the order of the ranks."""
    axis, shape = attrs["axis"], list(inputs[0])
    shape[axis] = shape[axis] * attrs["ranks"]
    return (tuple(shape),)


@op("lora")
def _lora(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., in], y [..., out] -> y + scale B A x, with A, B and scale of the adapter that the token's sequence names.

    Hu et al. 2021. ``target`` names the weight that it adapts; the banks belong to the executable, and
    adapter 0 adds nothing.
    """
    check(inputs[0][:-1] == inputs[1][:-1], "an adapter's input and output have the same leading axes")
    return (inputs[1],)


@op("squares")
def _squares(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., in] -> [in], 1: the sum of the squares of each column over all rows, and how many rows there were."""
    return ((inputs[0][-1],), (1,))


@op("expert_squares")
def _expert_squares(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, in] or [T, k, in], ids i32[T, k] -> [E, in], [E]: ``squares`` of the rows that each of ``experts`` multiplies."""
    return ((attrs["experts"], inputs[0][-1]), (attrs["experts"],))
