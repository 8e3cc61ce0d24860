"""Step: what a reference kernel may read besides its inputs, and the table that kernels are registered in."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Adapter, Communicator
from heron.backends.batch import Batch
from heron.backends.reference.state import FieldStore, StateStore
from heron.graph.graph import Group, Node, State, Weight

Array = NDArray[np.float32]
AnyArray = NDArray[np.float32] | NDArray[np.int32]


@dataclass
class Step:
    """One run of a graph: its batch, the weights in f32, the states, the adapters and the other ranks."""

    batch: Batch
    weight: Callable[[Weight], Array]
    states: StateStore | None = None
    adapters: Mapping[int, Adapter] = field(default_factory=dict)
    communicator: Communicator | None = None

    def field(self, state: State, name: str) -> FieldStore:
        assert self.states is not None
        return self.states.fields[state.name, name]

    def group(self, state: State) -> Group:
        assert self.states is not None
        return self.states.groups[state.group]

    def at(self, state: State, sequence: int, places: NDArray[np.int32]) -> NDArray[np.intp]:
        """Where in a state's fields the tokens at these places of a sequence are stored."""
        group, batch = self.group(state), self.batch
        if group.kind == "cross":
            table, start = batch.cross[group.name][sequence], 0
        else:
            starts = batch.table_start.get(group.name)
            table, start = batch.tables[group.name][sequence], 0 if starts is None else int(starts[sequence])
        blocks = places // group.block_size - start
        return table[blocks].astype(np.intp) * group.block_size + places % group.block_size


#: ``kernel(step, node, *inputs) -> outputs``
Kernel = Callable[..., tuple[AnyArray, ...]]
KERNELS: dict[str, Kernel] = {}


def kernel(name: str) -> Callable[[Kernel], Kernel]:
    """Register the decorated function as the meaning of an op."""

    def register(function: Kernel) -> Kernel:
        KERNELS[name] = function
        return function

    return register


def given(step: Step, node: Node, i: int) -> Array:
    """The node's i-th weight in f32, which it must have."""
    weight = node.weights[i]
    assert weight is not None, f"{node} lacks weight {i}"
    return step.weight(weight)


def weight(step: Step, node: Node, i: int) -> Array | None:
    """The node's i-th weight in f32, or None where it has none."""
    found = node.weights[i] if i < len(node.weights) else None
    return None if found is None else step.weight(found)
