"""Graphs without states, for training: tokens attend to keys and values of their own step, recurrences begin anew.

A step then is whole sequences, and what it computes is a function of its tokens and weights alone, with nothing written
in place: what automatic differentiation needs. Fused ops are replaced by what they mean.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from heron.errors import UnsupportedError
from heron.graph.builder import Builder
from heron.graph.dims import T
from heron.graph.graph import Graph, Model, Node, State, Value
from heron.graph.passes.decompose import decompose
from heron.graph.passes.rewrite import keep, rewrite

#: Ops that store their inputs in a state's fields, in the fields' order.
WRITES = ("kv_write", "latent_write")
#: Ops that read such a state, and without one take what was stored as further inputs.
READS = ("attend", "latent_attend")
#: Ops that without a state begin from zeros, and forget where they end.
RECURRENT = ("causal_conv", "selective_scan", "delta_rule")


def stateless(model: Model, entry: str = "forward") -> Graph:
    """The entry's graph without states, fused ops decomposed; each sequence of its batches must be whole.

    Raises UnsupportedError for an op that needs what another step or entry left.
    """
    if entry not in model.entries:
        raise UnsupportedError(f"this {model.architecture} model has no entry {entry!r}; it has {', '.join(model.entries)}")
    graph = decompose(model.entries[entry])
    return rewrite(replace(graph, states={}, groups={}), _visitor(model))


def _visitor(model: Model) -> Callable[[Builder, Node, tuple[Value, ...]], tuple[Value, ...]]:
    stored: dict[str, tuple[Value, ...]] = {}  # the state's name -> what this step put into its fields

    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        if node.op in WRITES:
            stored[node.writes[0].name] = _as_fields(b, node.writes[0], inputs)
            return ()
        if node.op in READS and node.reads:
            inputs += _found(model, node, stored)
            attrs = {name: value for name, value in node.attrs.items() if name != "value_dim"}
            return b.call(node.op, inputs, node.weights, **attrs)
        if node.op in RECURRENT:
            return b.call(node.op, inputs, node.weights, **node.attrs)
        if node.reads or node.writes:
            raise UnsupportedError(f"{model.architecture} cannot be trained: {node.op} in {node.scope} has no form without a state")
        return keep(b, node, inputs)

    return visit


def _as_fields(b: Builder, state: State, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The inputs [T, ...] as the fields of the state would give them back."""
    shapes = [(T, *field.shape) for _, field in state.fields]
    return tuple(x if x.shape == shape else b.reshape(x, *shape) for x, shape in zip(inputs, shapes, strict=True))


def _found(model: Model, node: Node, stored: dict[str, tuple[Value, ...]]) -> tuple[Value, ...]:
    name = node.reads[0].name
    if name not in stored:
        raise UnsupportedError(
            f"{model.architecture} cannot be trained: {node.op} in {node.scope} reads {name}, which another entry writes; "
            "encoder-decoders are not supported yet"
        )
    return stored[name]
