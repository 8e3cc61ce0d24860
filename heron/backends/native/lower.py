"""Lowering: a graph becomes a program of the core, with buffers planned by liveness.

Nodes without a native kernel stand between runs of native instructions and run their reference kernel on views of
the program's buffers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from heron import _core
from heron.backends.native.weights import NativeWeights
from heron.graph.dims import Dim, Size
from heron.graph.graph import Graph, Node, State, Value, Weight
from heron.graph.passes.decompose import decompose
from heron.graph.passes.plan import ALIASES, plan
from heron.graph.passes.weigh import matrices_of

SYMBOLS = ("T", "R", "S", "P")

#: A value as the core sees it: its buffer, and its shape as sizes (constant, factor of each symbol).
CoreSize = tuple[int, ...]
CoreValue = tuple[int, list[CoreSize]]

NATIVE_OPS = frozenset(_core.native_ops())

#: What the native kernels of some ops leave to the reference.
DECLINES: dict[str, Callable[[Node], bool]] = {
    "latent_attend": lambda node: node.attrs["form"] == "expanded",
    "glu": lambda node: node.inputs[0].shape != node.inputs[1].shape,
}


def runs_natively(node: Node) -> bool:
    return node.op in ALIASES or (node.op in NATIVE_OPS and not DECLINES.get(node.op, lambda _: False)(node))


def for_native(graph: Graph, fuse: bool) -> Graph:
    """The graph with fused ops replaced by what they mean, but for those that have a native kernel (where ``fuse`` allows)."""
    return decompose(graph, lambda node: fuse and runs_natively(node))


@dataclass(frozen=True)
class Run:
    """Native instructions [first, last) of the program."""

    first: int
    last: int


@dataclass(frozen=True)
class Fallback:
    """A node that runs its reference kernel on views of these values."""

    node: Node
    inputs: tuple[CoreValue, ...]
    outputs: tuple[CoreValue, ...]


@dataclass(frozen=True)
class Lowered:
    """A program, the order in which its runs and the fallbacks happen, and the values outside its arena.

    ``outputs`` are the values to allocate for each step; ``named`` gives each output's value, and which of them holds it.
    """

    program: _core.Program
    steps: tuple[Run | Fallback, ...]
    inputs: tuple[str, ...]
    outputs: tuple[Value, ...]
    named: Mapping[str, tuple[Value, Value]]


def lower(graph: Graph, runtime: _core.Runtime, weights: NativeWeights, fields: Mapping[tuple[str, str], int], activations: str) -> Lowered:
    """``fields`` gives each (state, field) its index in the runtime."""
    memory = plan(graph)
    root = _roots(graph)
    named = {name: (value, root.get(value, value)) for name, value in graph.outputs.items()}
    outside = list(graph.inputs.values())
    outside += [v for v in dict.fromkeys(r for _, r in named.values()) if v not in outside]
    buffer = {value: len(memory.sizes) + i for i, value in enumerate(outside)}

    def place(value: Value) -> CoreValue:
        at = buffer.get(root.get(value, value), memory.buffer_of[value])
        return at, [_size(s) for s in value.shape]

    program = _core.Program(runtime, [[_size(s) for s in sizes] for sizes in memory.sizes])
    steps: list[Run | Fallback] = []
    for node in graph.nodes:
        if node.op in ALIASES:
            continue
        inputs, outputs = tuple(place(v) for v in node.inputs), tuple(place(v) for v in node.outputs)
        if not runs_natively(node):
            steps.append(Fallback(node, inputs, outputs))
            continue
        at = len(program)
        count = matrices_of(node)
        made = [None if w is None else weights.get(w, matrix=i < count) for i, w in enumerate(node.weights)]
        program.add(node.op, list(inputs), list(outputs), made, _fields(node, fields), *_attributes(node, activations))
        last = steps[-1] if steps else None
        steps[-1 if isinstance(last, Run) else len(steps) :] = [Run(last.first if isinstance(last, Run) else at, at + 1)]
    return Lowered(program, tuple(steps), tuple(graph.inputs), tuple(outside[len(graph.inputs) :]), named)


def _roots(graph: Graph) -> dict[Value, Value]:
    """The value that each alias shares its memory with."""
    root: dict[Value, Value] = {}
    for node in graph.nodes:
        if node.op in ALIASES:
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])
    return root


def _size(size: Size) -> CoreSize:
    if not isinstance(size, Dim):
        return (size, 0, 0, 0, 0)
    factors = dict(size.terms)
    return (size.const, *(factors.get(symbol, 0) for symbol in SYMBOLS))


def _fields(node: Node, fields: Mapping[tuple[str, str], int]) -> list[int]:
    states: tuple[State, ...] = node.writes or node.reads
    return [fields[state.name, name] for state in states for name, _ in state.fields]


def _attributes(node: Node, activations: str) -> tuple[dict[str, float], dict[str, str], dict[str, list[int]]]:
    """The node's attributes by the kinds that the core knows."""
    numbers: dict[str, float] = {"f32": float(activations == "f32")}
    words: dict[str, str] = {}
    lists: dict[str, list[int]] = {}
    for name, value in node.attrs.items():
        if isinstance(value, str):
            words[name] = value
        elif isinstance(value, int | float):
            numbers[name] = float(value)
        elif all(isinstance(item, int) for item in value):
            lists[name] = list(value)
    if node.op in ("attend", "attention") and len(node.weights) > 1 and node.weights[1] is not None:
        lists["buckets"] = _buckets(node, node.weights[1])
    return numbers, words, lists


def _buckets(node: Node, bias: Weight) -> list[int]:
    """The bucket of a relative bias [buckets, H] for each distance up to where buckets end, on both sides."""
    from heron.backends.reference.attention import relative_buckets

    reach = node.attrs["max_distance"]
    distances = np.arange(-reach, reach + 1, dtype=np.int32)
    return [int(i) for i in relative_buckets(distances, bias.shape[0], reach, node.attrs["bidirectional"])]
