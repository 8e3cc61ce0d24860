"""Runs a graph in segments, a layer each, that may forget what they computed and compute it once more for the gradient."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heron.backends.torch.step import Kernel, Step
from heron.graph.graph import Graph, Node, Value

#: The scope of a layer: the bound at which values are kept.
_LAYER = re.compile(r"(\w+\.)?blk\.\d+(?=\.|$)")


@dataclass(frozen=True)
class Segment:
    """Nodes side by side in one layer (``layer``), or outside of all: what they take from before them, and leave to those behind."""

    layer: bool
    nodes: tuple[Node, ...]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def run(self, kernels: Mapping[str, Kernel], step: Step, *given: Tensor) -> tuple[Tensor, ...]:
        values = dict(zip(self.inputs, given, strict=True))
        for node in self.nodes:
            results = kernels[node.op](step, node, *(values[value] for value in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
        return tuple(values[value] for value in self.outputs)


def segments(graph: Graph) -> tuple[Segment, ...]:
    """The graph's nodes in their order, cut where a layer begins or ends."""

    def layer(node: Node) -> str:
        found = _LAYER.match(node.scope)
        return found[0] if found else ""

    runs = [(name, tuple(nodes)) for name, nodes in groupby(graph.nodes, layer)]
    needed, found = set(graph.outputs.values()), []
    for name, nodes in reversed(runs):
        made = {value: None for node in nodes for value in node.outputs}  # in their order
        taken = {value: None for node in nodes for value in node.inputs if value not in made}
        found.append(Segment(bool(name), nodes, tuple(taken), tuple(value for value in made if value in needed)))
        needed.update(taken)
    return tuple(reversed(found))


def run(parts: tuple[Segment, ...], kernels: Mapping[str, Kernel], step: Step, values: dict[Value, Tensor], forget: bool) -> None:
    """Compute what the segments leave, into ``values``. Layers ``forget`` what is not, until the gradient asks for it."""
    for part in parts:
        given = [values[value] for value in part.inputs]
        if forget and part.layer and torch.is_grad_enabled():
            results = checkpoint(part.run, kernels, step, *given, use_reentrant=False, preserve_rng_state=False)
        else:
            results = part.run(kernels, step, *given)
        values.update(zip(part.outputs, results, strict=True))
