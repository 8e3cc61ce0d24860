"""Fused ops, which blocks call by name, and what each means in plain ops (what ``HERON_FUSE=0`` runs)."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from heron.graph.ops import means, op
from heron.graph.ops_attention import _attend, _rope
from heron.graph.ops_core import Attrs, Shapes, Weights, _linear, broadcast

if TYPE_CHECKING:
    from heron.graph.builder import Builder
    from heron.graph.graph import Node, Value


@op("packed_linear")
def _packed_linear(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x; n matrices, then n biases or none -> n products of one input."""
    return tuple(_linear(inputs, (weight,), {})[0] for weight in weights[: attrs["n"]])


@means("packed_linear")
def _packed_linear_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    n = node.attrs["n"]
    pairs = zip(node.weights[:n], node.weights[n:], strict=True)
    return tuple(b.call("linear", inputs, (weight, bias))[0] for weight, bias in pairs)


@op("add_rms_norm")
def _add_rms_norm(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x, y; gain -> x + y, rms_norm(x + y)."""
    total = broadcast(*inputs)
    return (total, total)


@means("add_rms_norm")
def _add_rms_norm_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    total = b.add(*inputs)
    return (total, b.call("rms_norm", (total,), node.weights, **node.attrs)[0])


@op("glu")
def _glu(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """gate, up -> kind(gate) * up (Shazeer 2020).

    With ``limit`` the gate is held below it, and up within it on both sides; ``offset`` is added to up.
    """
    return (broadcast(*inputs),)


@means("glu")
def _glu_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    gate, up = inputs
    if limit := node.attrs.get("limit"):
        gate, up = b.clamp(gate, -inf, limit), b.clamp(up, -limit, limit)
    gate = b.activation(gate, node.attrs["kind"])
    product, offset = b.mul(gate, up), node.attrs.get("offset")
    return (b.add(product, b.scale(gate, offset)) if offset else product,)


@op("gated_linear")
def _gated_linear(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """x; a gate's and another matrix, then a bias or none of each -> glu of the two products of x, with the attributes of ``glu``."""
    return _linear(inputs, weights[:1], {})


@means("gated_linear")
def _gated_linear_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    pairs = zip(node.weights[:2], node.weights[2:], strict=True)
    gate, up = (b.call("linear", inputs, (weight, bias))[0] for weight, bias in pairs)
    return _glu_means(b, node, (gate, up))


@op("attention")
def _attention(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q, k, v -> k and v written to the state, then q attends to the state."""
    return _attend(inputs, weights, attrs)


@means("attention")
def _attention_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    query, key, value = inputs
    b.call("kv_write", (key, value), writes=node.writes)
    return b.call("attend", (query,), node.weights, reads=node.reads, **node.attrs)


@op("rope_attention")
def _rope_attention(inputs: Shapes, weights: Weights, attrs: Attrs) -> Shapes:
    """q, k, v, positions; frequencies, then the weights of ``attention`` -> rope of q and k, then ``attention``.

    Attributes: those of ``attention``, and of rope ``pairing``, ``sections`` and, as ``rope_scale``, its ``scale``.
    """
    query, key, value, positions = inputs
    for turned in (query, key):
        _rope((turned, positions), weights[:1], attrs)
    return _attend((query, key, value), weights[1:], attrs)


@means("rope_attention")
def _rope_attention_means(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    query, key, value, positions = inputs
    attrs = dict(node.attrs)
    turn = {"pairing": attrs.pop("pairing"), "scale": attrs.pop("rope_scale")}
    turn |= {"sections": attrs.pop("sections")} if "sections" in attrs else {}
    query, key = (b.call("rope", (x, positions), node.weights[:1], **turn)[0] for x in (query, key))
    return b.call("attention", (query, key, value), node.weights[1:], reads=node.reads, writes=node.writes, **attrs)
