"""Shape rules of the plain ops: embedding, products, norms, elementwise functions, reshaping, choosing rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heron.graph.dims import R, S, Shape, elements, shape_str
from heron.graph.graph import Weight
from heron.graph.ops import check, op

Shapes = tuple[Shape, ...]
Weights = tuple[Weight | None, ...]
Attrs = Mapping[str, Any]

ACTIVATIONS = ("silu", "gelu", "gelu_erf", "quick_gelu", "relu", "relu2", "sigmoid", "tanh", "softplus", "exp")


def broadcast(a: Shape, b: Shape) -> Shape:
    """numpy's rule: aligned at the end, a size of 1 stretches."""
    if len(a) < len(b):
        a = (1,) * (len(b) - len(a)) + a
    b = (1,) * (len(a) - len(b)) + b
    for x, y in zip(a, b, strict=True):
        check(x == y or x == 1 or y == 1, f"shapes {shape_str(a)} and {shape_str(b)} do not broadcast")
    return tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))


@op("embed")
def _embed(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """ids i32[T]; W [vocab, d] -> [T, d]: the rows of W that the ids name."""
    assert weights[0] is not None
    return ((*inputs[0], weights[0].shape[1]),)


@op("insert_embeds")
def _insert_embeds(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, d] -> [T, d]: row ``embed_rows[n]`` replaced by the batch's ``embeds[n]`` (images, audio, soft prompts)."""
    return inputs


@op("linear")
def _linear(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., in]; W [out, in], bias [out] or none -> [..., out]: ``x @ W.T + bias``."""
    weight = weights[0]
    assert weight is not None
    check(inputs[0][-1] == weight.shape[1], f"{weight.name} takes {weight.shape[1]} inputs, got {shape_str(inputs[0])}")
    return ((*inputs[0][:-1], weight.shape[0]),)


@op("rms_norm")
@op("layer_norm")
def _norm(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., d]; gain [d] (or [H, d] for x [T, H, d], or none), layer_norm also bias -> [..., d], over the last axis.

    RMSNorm: Zhang and Sennrich 2019; LayerNorm: Ba et al. 2016. Accumulated in f32.
    """
    if weights and weights[0] is not None:
        check(weights[0].shape[-1] == inputs[0][-1], f"{weights[0].name} has {weights[0].shape}, its input {shape_str(inputs[0])}")
    return inputs


@op("add")
@op("mul")
def _elementwise(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    return (broadcast(*inputs),)


@op("bias")
@op("gain")
def _by_weight(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x; w -> ``x + w`` (bias) or ``x * w`` (gain), w broadcast along the leading axes."""
    assert weights[0] is not None
    check(broadcast(inputs[0], weights[0].shape) == inputs[0], f"{weights[0].name} does not broadcast to {shape_str(inputs[0])}")
    return inputs


@op("scale")
def _scale(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x -> ``x * factor``."""
    return inputs


@op("clamp")
def _clamp(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x -> ``min(max(x, low), high)``."""
    return inputs


@op("activation")
def _activation(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x -> kind(x) elementwise; ``gelu`` is the tanh approximation, ``gelu_erf`` the exact one, ``quick_gelu`` x sigmoid(1.702 x);
    ``relu2`` is relu squared."""
    check(attrs["kind"] in ACTIVATIONS, f"unknown activation {attrs['kind']!r}; known: {', '.join(ACTIVATIONS)}")
    return inputs


@op("softmax")
def _softmax(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> softmax over the last axis."""
    return inputs


@op("reshape")
def _reshape(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """The same elements in the same order under another shape."""
    shape = attrs["shape"]
    check(elements(shape) == elements(inputs[0]), f"cannot reshape {shape_str(inputs[0])} to {shape_str(shape)}")
    return (shape,)


@op("split")
def _split(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> parts of the last axis with the given ``sizes``."""
    check(sum(attrs["sizes"]) == inputs[0][-1], f"sizes {attrs['sizes']} do not add up to {shape_str(inputs[0])}'s last axis")
    return tuple((*inputs[0][:-1], size) for size in attrs["sizes"])


@op("concat")
def _concat(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """Values joined along the last axis."""
    lead = inputs[0][:-1]
    check(all(s[:-1] == lead for s in inputs), "concat takes values that differ in their last axis alone")
    total = sum(s[-1] for s in inputs if isinstance(s[-1], int))
    return ((*lead, total),)


@op("columns")
def _columns(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n]; order [n], whole numbers as f32 -> [..., n]: column ``order[j]`` of x becomes column j."""
    assert weights[0] is not None
    check(weights[0].shape == inputs[0][-1:], f"{weights[0].name} has {weights[0].shape}, its input {shape_str(inputs[0])}")
    return inputs


@op("sum")
def _sum(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [..., n] -> [..., 1]: the sum over the last axis."""
    return ((*inputs[0][:-1], 1),)


@op("rows")
def _rows(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, ...] -> [R, ...]: the rows that the batch wants logits of."""
    return ((R, *inputs[0][1:]),)


@op("pool")
def _pool(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x [T, d] -> [S, d]: for each sequence the ``mean`` over its tokens in this step, its first (``cls``) or its ``last``."""
    check(attrs["kind"] in ("mean", "cls", "last"), f"unknown pooling {attrs['kind']!r}; known: mean, cls, last")
    return ((S, *inputs[0][1:]),)
