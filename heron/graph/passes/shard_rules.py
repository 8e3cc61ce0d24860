"""How each op is computed on one rank of several: which layouts of its inputs it takes as they are, and what comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from heron.graph import builder  # noqa: F401  (registers the ops)
from heron.graph.dims import Shape, elements
from heron.graph.graph import Node, Value, Weight
from heron.graph.ops import OPS
from heron.graph.passes.rewrite import keep
from heron.graph.passes.shard import EXPERT, PARTIAL, WHOLE, Layout, Sharding, compute_whole

Rule = Callable[[Sharding, Node, tuple[Value, ...]], tuple[Value, ...]]
Values = tuple[Value, ...]


def shards(*names: str) -> Callable[[Rule], Rule]:
    """Make the decorated function the shard rule of these ops."""

    def register(rule: Rule) -> Rule:
        for name in names:
            OPS[name].shard = rule
        return rule

    return register


def last(value: Value) -> int:
    return len(value.shape) - 1


def call(s: Sharding, node: Node, inputs: Values, layout: Layout, **changes: Any) -> Values:
    """The node on this rank's inputs, its outputs in the given layout; ``changes`` replaces weights, states or attributes."""
    return s.put(keep(s.b, replace(node, **changes), inputs), layout)


# Products


def product(s: Sharding, x: Value, weight: Weight, bias: Weight | None) -> Value:
    """One linear product: by a part of the outputs (columns, vocab), of the inputs (rows), or by the whole matrix."""
    if weight.role in ("columns", "vocab") and s.divides(weight.shape[0], weight.unit):
        parts = (s.part(weight, 0), None if bias is None else s.part(bias, 0))
        return s.put(s.b.call("linear", (s.whole(x),), parts), len(x.shape) - 1)[0]
    fits = s.divides(weight.shape[1], weight.tensor.format.block)
    if weight.role == "rows" and s.layout(x) in (last(x), WHOLE) and fits:
        if s.layout(x) is WHOLE:  # each rank takes its part of it
            x = s.b.split(x, *[weight.shape[1] // s.ranks] * s.ranks)[s.rank]
        return s.put(s.b.call("linear", (x,), (s.part(weight, 1), bias if s.rank == 0 else None)), PARTIAL)[0]
    return s.b.call("linear", (s.whole(x),), (weight, bias))[0]


@shards("linear")
def _linear(s: Sharding, node: Node, inputs: Values) -> Values:
    weight = node.weights[0]
    assert weight is not None
    return (product(s, inputs[0], weight, node.weights[1] if len(node.weights) > 1 else None),)


@shards("packed_linear")
def _packed_linear(s: Sharding, node: Node, inputs: Values) -> Values:
    n, x = node.attrs["n"], s.whole(inputs[0])
    pairs = zip(node.weights[:n], node.weights[n:], strict=True)
    return tuple(product(s, x, weight, bias) for weight, bias in pairs if weight is not None)


@shards("gated_linear")
def _gated_linear(s: Sharding, node: Node, inputs: Values) -> Values:
    x = s.whole(inputs[0])
    gate, up = (product(s, x, weight, bias) for weight, bias in zip(node.weights[:2], node.weights[2:], strict=True) if weight is not None)
    outputs = s.b.call("glu", (gate, up), **node.attrs)
    return outputs if s.layout(gate) is WHOLE else s.put(outputs, s.layout(gate))


@shards("expert_linear")
def _expert_linear(s: Sharding, node: Node, inputs: Values) -> Values:
    """Each rank has some of the experts, and 0 where a token chose another rank's."""
    weight, bias = node.weights[0], node.weights[1]
    assert weight is not None
    x, ids = inputs
    if weight.role != "expert" or not s.divides(weight.shape[0]):
        return compute_whole(s, node, inputs)
    x = x if s.layout(x) == EXPERT else s.whole(x)
    parts = (s.part(weight, 0), None if bias is None else s.part(bias, 0))
    first = node.attrs["first"] + s.rank * (weight.shape[0] // s.ranks)
    return call(s, node, (x, s.whole(ids)), EXPERT, weights=parts, attrs={**node.attrs, "first": first})


@shards("combine")
def _combine(s: Sharding, node: Node, inputs: Values) -> Values:
    if s.layout(inputs[0]) != EXPERT:
        return compute_whole(s, node, inputs)
    return call(s, node, (inputs[0], s.whole(inputs[1])), PARTIAL)


# Elementwise ops, norms and shapes


@shards("activation", "scale", "clamp")
def _unary(s: Sharding, node: Node, inputs: Values) -> Values:
    axis = s.layout(inputs[0])
    if axis is WHOLE or axis < 0:
        return compute_whole(s, node, inputs)
    return call(s, node, inputs, axis)


@shards("add", "mul", "glu")
def _binary(s: Sharding, node: Node, inputs: Values) -> Values:
    """Two values split alike; ``glu`` also takes experts' outputs, each 0 on all ranks but one."""
    x, y = (s.layout(v) for v in inputs)
    same_rank = len(inputs[0].shape) == len(inputs[1].shape)
    if x == y and x is not WHOLE and same_rank and (x >= 0 or (x == EXPERT and node.op == "glu")):
        return call(s, node, inputs, x)
    return compute_whole(s, node, inputs)


@shards("rms_norm", "layer_norm", "softmax", "sum", "bias", "gain", "rope", "rows")
def _along(s: Sharding, node: Node, inputs: Values) -> Values:
    """Ops that leave the split axis alone; norms and sums need their last axis whole. Weights that have the axis are cut along it."""
    x, axis = inputs[0], s.layout(inputs[0])
    reduces = node.op in ("rms_norm", "layer_norm", "softmax", "sum")
    if axis is WHOLE or axis < 0 or (reduces and axis == last(x)):
        return compute_whole(s, node, inputs)
    weights: list[Weight | None] = []
    for weight in node.weights:
        at = None if weight is None else axis - (len(x.shape) - len(weight.shape))
        cut = weight is not None and at is not None and at >= 0 and node.op != "rope" and weight.shape[at] > 1
        weights.append(s.part(weight, at) if cut and weight is not None and at is not None else weight)
    return call(s, node, (x, *(s.whole(v) for v in inputs[1:])), axis, weights=tuple(weights))


@shards("reshape")
def _reshape(s: Sharding, node: Node, inputs: Values) -> Values:
    """The split axis goes where as many elements stand before it as did before: there, equal parts are the same parts."""
    axis = s.layout(inputs[0])
    shape: Shape = node.attrs["shape"]
    if axis is not WHOLE and axis >= 0:
        before = elements(inputs[0].shape[:axis])
        for i, size in enumerate(shape):
            if isinstance(size, int) and s.divides(size) and elements(shape[:i]) == before:
                local = (*shape[:i], size // s.ranks, *shape[i + 1 :])
                return call(s, node, inputs, i, attrs={"shape": local})
    return compute_whole(s, node, inputs)


@shards("split", "concat")
def _divide(s: Sharding, node: Node, inputs: Values) -> Values:
    axis = s.layout(inputs[0])
    if axis is WHOLE or axis < 0 or axis == last(inputs[0]) or any(s.layout(v) != axis for v in inputs):
        return compute_whole(s, node, inputs)
    return call(s, node, inputs, axis)


# Attention and recurrences: split by heads, or not at all

HEADS = 1  #: the axis of heads in [T, H, D] and [T, H]


def heads_split(s: Sharding, values: Values) -> bool:
    return all(s.layout(v) == HEADS for v in values)


def _cut_score_weights(s: Sharding, node: Node) -> tuple[Weight | None, ...]:
    """Sinks [H], relative bias [buckets, H] and slopes [H], for this rank's heads; rope's frequencies are all heads'."""
    turns = int(node.op == "rope_attention")
    return (*node.weights[:turns], *(None if w is None else s.part(w, len(w.shape) - 1) for w in node.weights[turns:]))


@shards("rope_attention", "attention", "attend")
def _attention(s: Sharding, node: Node, inputs: Values) -> Values:
    query, key_value, positions = inputs[0], inputs[1:3], inputs[3:]
    states = (*node.reads, *node.writes)
    if key_value:
        split, shared = heads_split(s, key_value), key_value[0].shape[HEADS] == 1
    else:
        split, shared = s.is_split(node.reads[0]), node.reads[0].field("key").shape[0] == 1
    if s.layout(query) != HEADS or not (split or shared):
        return compute_whole(s, node, inputs)
    if not split:
        key_value = tuple(s.whole(v) for v in key_value)
    changes: dict[str, Any] = {"weights": _cut_score_weights(s, node)}
    if split and states:
        state = s.split_state(states[0], key=0, value=0) if key_value else s.states[states[0].name]
        changes |= {"reads": (state,) * len(node.reads), "writes": (state,) * len(node.writes)}
    return call(s, node, (query, *key_value, *map(s.whole, positions)), HEADS, **changes)


@shards("kv_write")
def _kv_write(s: Sharding, node: Node, inputs: Values) -> Values:
    if not heads_split(s, inputs):
        return compute_whole(s, node, inputs)
    return call(s, node, inputs, WHOLE, writes=(s.split_state(node.writes[0], key=0, value=0),))


@shards("latent_attend")
def _latent_attend(s: Sharding, node: Node, inputs: Values) -> Values:
    if not heads_split(s, inputs):
        return compute_whole(s, node, inputs)
    weights = tuple(s.part(w, 0) for w in node.weights if w is not None)
    return call(s, node, inputs, HEADS, weights=weights)


@shards("causal_conv")
def _causal_conv(s: Sharding, node: Node, inputs: Values) -> Values:
    if s.layout(inputs[0]) != 1:
        return compute_whole(s, node, inputs)
    state = s.split_state(node.writes[0], window=1)
    weights = tuple(None if w is None else s.part(w, 0) for w in node.weights)
    return call(s, node, inputs, 1, weights=weights, reads=(state,), writes=(state,))


@shards("selective_scan")
def _selective_scan(s: Sharding, node: Node, inputs: Values) -> Values:
    """Heads split, and with them the groups that they read, or the one group that all read."""
    x, step, write, read = inputs
    if not heads_split(s, (x, step)):
        return compute_whole(s, node, inputs)
    if node.inputs[2].shape[HEADS] == 1:
        write, read = s.whole(write), s.whole(read)
    elif not heads_split(s, (write, read)):
        return compute_whole(s, node, inputs)
    state = s.split_state(node.writes[0], matrix=0)
    weights = tuple(None if w is None else s.part(w, 0) for w in node.weights)
    return call(s, node, (x, step, write, read), HEADS, weights=weights, reads=(state,), writes=(state,))


@shards("delta_rule")
def _delta_rule(s: Sharding, node: Node, inputs: Values) -> Values:
    if not heads_split(s, inputs):
        return compute_whole(s, node, inputs)
    state = s.split_state(node.writes[0], matrix=0)
    return call(s, node, inputs, HEADS, reads=(state,), writes=(state,))
