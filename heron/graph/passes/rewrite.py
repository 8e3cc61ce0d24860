"""The frame of a rewriting pass: nodes are visited in order, and each is kept or replaced by others."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from heron.graph.builder import Builder
from heron.graph.graph import Graph, Node, Value

#: ``visit(builder, node, inputs) -> outputs``: put into the builder what shall stand in the node's place.
Visit = Callable[[Builder, Node, tuple[Value, ...]], tuple[Value, ...]]


def keep(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The visit that changes nothing but the inputs."""
    return b.call(node.op, inputs, node.weights, reads=node.reads, writes=node.writes, **node.attrs)


def rewrite(graph: Graph, visit: Visit, outputs: Mapping[str, Value] | None = None) -> Graph:
    """The graph rebuilt by ``visit``. ``outputs`` (values of the old graph) replaces the old outputs."""
    b = Builder(graph.name)
    b.states, b.groups = dict(graph.states), dict(graph.groups)
    new = {value: b.input(name, value.shape, value.dtype) for name, value in graph.inputs.items()}
    for node in graph.nodes:
        with b.scope(node.scope):
            results = visit(b, node, tuple(new[v] for v in node.inputs))
        new.update(zip(node.outputs, results, strict=True))
    b.marks = {name: new[value] for name, value in graph.marks.items() if value in new}
    return b.finish(**{name: new[value] for name, value in (outputs or graph.outputs).items()})
