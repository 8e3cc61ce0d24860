"""Outputs chosen among a graph's outputs and marks (hidden states of any layer), and nodes that none of them needs removed."""

from __future__ import annotations

from collections.abc import Iterable

from heron.errors import RequestError
from heron.graph.graph import Graph, Value


def tap(graph: Graph, want: Iterable[str]) -> Graph:
    """The graph that computes just ``want`` (names of outputs or marks), and all effects on state.

    Raises RequestError for a name that the graph does not have.
    """
    known = {**graph.marks, **graph.outputs}
    outputs: dict[str, Value] = {}
    for name in want:
        if name not in known:
            raise RequestError(f"there is no output {name!r} in {graph.name!r}; it has {', '.join(known)}")
        outputs[name] = known[name]
    needed = set(outputs.values())
    nodes = []
    for node in reversed(graph.nodes):
        if node.writes or needed.intersection(node.outputs):
            nodes.append(node)
            needed.update(node.inputs)
    return Graph(graph.name, graph.inputs, outputs, tuple(reversed(nodes)), graph.states, graph.groups, graph.marks)
