"""What a model takes of a device's memory, and how many of its layers fit there, before anything is moved."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from heron.backends.base import Options
from heron.backends.reference.state import field_bytes
from heron.checkpoint.tensor import Tensor
from heron.graph.graph import Graph, Model
from heron.graph.passes.cut import count_layers, layers_of

#: The part of a device's free memory that weights and a cache may take: the rest is for what steps compute.
SHARE = 0.9

#: Tokens of a cache that must have room beside the weights.
CONTEXT = 4096

#: Formats whose numbers are kept in the type of products, where that is smaller.
PLAIN = ("F32", "F16", "BF16")


@dataclass
class _Taken:
    """Of one layer: its weights (tensors by id, since some are used twice) and the bytes of its states."""

    weights: dict[int, Tensor] = field(default_factory=dict)
    states: int = 0


@dataclass(frozen=True)
class Fit:
    """``layers`` of ``of`` fit on the device (``of + 1``: the output too, which is all); ``need`` bytes are the whole model's."""

    layers: int
    of: int
    need: int


def fit(model: Model, free: int, options: Options, itemsize: int) -> Fit:
    """How much of a model fits into ``free`` bytes of a device that computes with numbers of ``itemsize`` bytes.

    Layers are counted from the last one, as ``--gpu-layers`` takes them. A model that cannot be divided fits whole or not at all.
    """
    graphs = list(model.entries.values())
    whole = _Taken()
    for graph in graphs:
        for taken in _by_layer(model, graph, options).values():
            whole.weights |= taken.weights
            whole.states += taken.states
    need, have, count = _bytes(whole, itemsize), SHARE * free, max(map(count_layers, graphs))
    if need <= have or len(graphs) > 1:
        return Fit(count + 1 if need <= have else 0, count, need)
    by_layer, fits, held = _by_layer(model, graphs[0], options), 0, 0
    while fits < count and (held := held + _bytes(by_layer[count - 1 - fits], itemsize)) <= have:
        fits += 1
    return Fit(fits, count, need)


def _by_layer(model: Model, graph: Graph, options: Options) -> Mapping[int, _Taken]:
    count = count_layers(graph)
    taken = {layer: _Taken() for layer in range(-1, count + 1)}
    seen: set[str] = set()
    for node, layer in zip(graph.nodes, layers_of(graph), strict=True):
        taken[layer].weights |= {id(weight.tensor): weight.tensor for weight in node.weights if weight is not None}
        for state in node.writes:
            if state.name not in seen:
                group, entry = graph.groups[state.group], sum(field_bytes(each, options.kv_dtype) for _, each in state.fields)
                places = 2 if group.kind == "slot" else min(CONTEXT, model.context_length, group.window or CONTEXT)
                taken[layer].states += entry * places
                seen.add(state.name)
    return taken


def _bytes(taken: _Taken, itemsize: int) -> int:
    def held(tensor: Tensor) -> int:
        return min(tensor.nbytes, tensor.size * itemsize) if tensor.format.name in PLAIN else tensor.nbytes

    return taken.states + sum(map(held, taken.weights.values()))
