"""Pipeline parallelism: a graph cut between layers into stages, each of which may run on another backend or device.

What one stage computes and a later one needs crosses the cut, as an output of the one and an input of the other under
the name ``value:ID``. What is the step's own (tokens, positions, and what is only reshaped of them) each stage is given.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence

from heron.errors import UnsupportedError
from heron.graph.graph import Graph, Node, State, Value

_LAYER = re.compile(r"(?:enc\.|dec\.)?blk\.(\d+)(?:\.|$)")


def layers_of(graph: Graph) -> list[int]:
    """The layer of each node, by its scope (``blk.3.attn``): -1 in front of the first layer, the number of layers behind the last."""
    found = [int(match[1]) if (match := _LAYER.match(node.scope)) else None for node in graph.nodes]
    last = max((i for i, layer in enumerate(found) if layer is not None), default=-1)
    count, at, layers = max((layer for layer in found if layer is not None), default=-1) + 1, -1, []
    for i, layer in enumerate(found):
        at = count if i > last else max(at, at if layer is None else layer)
        layers.append(at)
    return layers


def count_layers(graph: Graph) -> int:
    return max((layer for layer, node in zip(layers_of(graph), graph.nodes, strict=True) if _LAYER.match(node.scope)), default=-1) + 1


def cut(graph: Graph, bounds: Sequence[int]) -> tuple[Graph, ...]:
    """Stages, one more than there are ``bounds``: a bound is the layer that begins a stage, the number of layers the head's.

    The first stage has the embedding, the last one the head. Each has the weights and states of its own layers, and the
    marks that are computed in it. Raises UnsupportedError where layers on both sides of a bound share a state.
    """
    layers = layers_of(graph)
    stage_of = [bisect_right(bounds, layer) for layer in layers]
    _refuse_shared(graph, layers, stage_of)
    maker = {value: i for i, node in enumerate(graph.nodes) for value in node.outputs}
    given = set(graph.inputs.values())
    for node in graph.nodes:  # what needs no weight and no state: it is computed again rather than handed over
        if node.inputs and not (node.weights or node.reads or node.writes) and given.issuperset(node.inputs):
            given.update(node.outputs)

    def again(values: Sequence[Value]) -> set[int]:
        """The nodes that make these values, and what they are made of, of the step's own."""
        own = {maker[value] for value in values if value in given and value in maker}
        return own.union(*(again(graph.nodes[i].inputs) for i in own)) if own else own

    taken = [[i for i, at in enumerate(stage_of) if at == stage] for stage in range(len(bounds) + 1)]
    needs = [{value for i in mine for value in graph.nodes[i].inputs} for mine in taken]
    crossing = [{v for v in need if v in maker and v not in given and stage_of[maker[v]] < stage} for stage, need in enumerate(needs)]
    stages = []
    for stage, mine in enumerate(taken):
        nodes = [graph.nodes[i] for i in sorted({*mine, *again([*needs[stage]])})]
        made = {value for node in nodes for value in node.outputs}
        inputs = {name: value for name, value in graph.inputs.items() if any(value in node.inputs for node in nodes)}
        inputs |= {_name(value): value for value in _in_order(crossing[stage])}
        leaving = {v for later in crossing[stage + 1 :] for v in later if stage_of[maker[v]] == stage}
        outputs = {_name(value): value for value in _in_order(leaving)}
        outputs |= {name: value for name, value in graph.outputs.items() if value in maker and stage_of[maker[value]] == stage}
        marks = {name: value for name, value in graph.marks.items() if value in made and stage_of[maker[value]] == stage}
        states = {name: state for name, state in graph.states.items() if any(_uses(node, state) for node in nodes)}
        groups = {name: graph.groups[name] for name in graph.groups if any(state.group == name for state in states.values())}
        stages.append(Graph(f"{graph.name}:{stage}", inputs, outputs, tuple(nodes), states, groups, marks))
    return tuple(stages)


def _name(value: Value) -> str:
    return f"value:{value.id}"


def _in_order(values: set[Value]) -> list[Value]:
    return sorted(values, key=lambda value: value.id)


def _uses(node: Node, state: State) -> bool:
    return state.name in {used.name for used in (*node.reads, *node.writes)}


def _refuse_shared(graph: Graph, layers: Sequence[int], stage_of: Sequence[int]) -> None:
    for state in graph.states.values():
        users = [i for i, node in enumerate(graph.nodes) if _uses(node, state)]
        if len({stage_of[i] for i in users}) > 1:
            first, last = layers[users[0]], layers[users[-1]]
            raise UnsupportedError(
                f"layers {first} to {last} share the state {state.name!r} and cannot be divided; let the cut be in front of layer {first}"
                f" or behind layer {last}"
            )
