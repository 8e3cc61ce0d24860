"""Fused ops replaced by what they mean, where the executor has no kernel for them or ``HERON_FUSE=0`` asks for it."""

from __future__ import annotations

from collections.abc import Callable

from heron.graph.builder import Builder
from heron.graph.graph import Graph, Node, Value
from heron.graph.ops import OPS, Compose
from heron.graph.passes.rewrite import keep, rewrite


def decompose(graph: Graph, keeps: Callable[[Node], bool] = lambda node: False) -> Graph:
    """The graph with each fused node that the executor does not keep replaced by its composition."""

    def composition(node: Node) -> Compose | None:
        return None if keeps(node) else OPS[node.op].compose

    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        compose = composition(node)
        return compose(b, node, inputs) if compose else keep(b, node, inputs)

    while any(map(composition, graph.nodes)):  # one may be made of fused ops
        graph = rewrite(graph, visit)
    return graph
