"""The memory plan: values that are never alive together share a buffer.

Sizes are linear in T, R and S, so the plan assigns *buffers* once, when the model is loaded; each step, a buffer
is as large as the largest of its values then.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from heron.graph.dims import Size, elements, resolve
from heron.graph.graph import Graph, Value

ALIGNMENT = 64  # bytes: a cache line, and the widest vector

#: Ops whose first output is its input under another shape: no bytes move.
ALIASES = frozenset({"reshape"})


@dataclass(frozen=True)
class Plan:
    """``buffer_of`` gives each value its buffer, -1 for the graph's inputs.

    ``sizes[b]`` are all the sizes, in elements, that buffer b must hold.
    """

    buffer_of: Mapping[Value, int]
    sizes: tuple[tuple[Size, ...], ...]

    def offsets(self, symbols: Mapping[str, int]) -> tuple[list[int], int]:
        """The byte offset of each buffer in one arena, and the arena's size, in a step with these symbols."""
        offsets, at = [], 0
        for sizes in self.sizes:
            offsets.append(at)
            largest = max(4 * resolve(size, symbols) for size in sizes)
            at += -(-largest // ALIGNMENT) * ALIGNMENT
        return offsets, at


def plan(graph: Graph) -> Plan:
    """Assign buffers by liveness, first fit among buffers that are free, those whose sizes match best first."""
    root: dict[Value, Value] = {}
    for node in graph.nodes:
        for output in node.outputs:
            root[output] = output
        if node.op in ALIASES:
            root[node.outputs[0]] = root.get(node.inputs[0], node.inputs[0])

    last: dict[Value, int] = {}
    for i, node in enumerate(graph.nodes):
        for value in (*node.inputs, *node.outputs):
            last[root.get(value, value)] = i
    for value in graph.outputs.values():
        last[root.get(value, value)] = len(graph.nodes)

    inputs = set(graph.inputs.values())
    buffer_of: dict[Value, int] = dict.fromkeys(inputs, -1)
    sizes: list[set[Size]] = []
    free: list[int] = []
    dying: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for output in node.outputs:
            if root[output] is not output:
                buffer_of[output] = buffer_of[root[output]]
                continue
            size = elements(output.shape)
            best = min(free, key=lambda b: (size not in sizes[b], b), default=None)
            if best is None:
                best = len(sizes)
                sizes.append(set())
            else:
                free.remove(best)
            sizes[best].add(size)
            buffer_of[output] = best
            dying.setdefault(last[output], []).append(best)
        free.extend(dying.pop(i, ()))
    return Plan(buffer_of, tuple(tuple(sorted(s, key=str)) for s in sizes))
