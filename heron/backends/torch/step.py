"""Step: what a kernel may read besides its inputs, and the table that kernels are registered in."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.base import Communicator
from heron.backends.batch import Batch
from heron.backends.torch.inputs import Inputs
from heron.backends.torch.state import FieldStore, StateStore
from heron.backends.torch.weights import Matrix, TorchWeights
from heron.graph.graph import Group, Node, State

Made = TypeVar("Made")


class NotStatic(Exception):
    """A kernel's launches depend on numbers that change from step to step, so they cannot be recorded."""


@dataclass(frozen=True)
class DeviceAdapter:
    """An adapter's pairs (A [r, in], B [out, r], the scale in it) on the device."""

    pairs: Mapping[str, tuple[Tensor, Tensor]]


@dataclass
class Step:
    """One run of a graph: its batch, the type of its values, the weights, the states, the adapters and the other ranks.

    The batch's arrays are on the device in ``inputs``. What many nodes derive from them is made ``once``. A step waits for nothing.
    """

    batch: Batch
    inputs: Inputs
    device: torch.device
    dtype: torch.dtype
    weights: TorchWeights
    states: StateStore | None = None
    adapters: Mapping[int, DeviceAdapter] = field(default_factory=dict)
    communicator: Communicator | None = None
    static: bool = False  #: what is launched is recorded, to run again on other inputs: of ``batch`` only the shapes and offsets hold
    _made: dict[Hashable, Any] = field(default_factory=dict, init=False)

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What ``make`` gave for this key in this step."""
        if key not in self._made:
            self._made[key] = make()
        made: Made = self._made[key]
        return made

    def needs_host(self, what: str) -> None:
        """Kernels say so where they read a batch's numbers on the host, or wait for the device. Raises NotStatic in a static step."""
        if self.static:
            raise NotStatic(what)

    def index(self, array: NDArray[Any]) -> Tensor:
        """Integers of the host as indices on the device. CUDA takes them at once; elsewhere memory must last until they are there."""
        self.needs_host("indices made on the host")
        return torch.from_numpy(np.array(array, np.int64)).to(self.device, non_blocking=self.device.type == "cuda")

    def input(self, name: str) -> Tensor:
        """The graph's input of this name."""
        own = name not in self.batch.given
        return self.inputs[name] if own else torch.from_numpy(self.batch.given[name]).to(self.device, self.dtype)

    def field(self, state: State, name: str) -> FieldStore:
        assert self.states is not None
        return self.states.fields[state.name, name]

    def group(self, state: State) -> Group:
        assert self.states is not None
        return self.states.groups[state.group]

    def table(self, group: Group) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
        """Block ids [S, B] of the sequences, and the place [S] of each one's first block."""
        if group.kind == "cross":
            return self.batch.cross[group.name], np.zeros(self.batch.sequences, np.int32)
        start = self.batch.table_start.get(group.name)
        return self.batch.tables[group.name], np.zeros(self.batch.sequences, np.int32) if start is None else start

    def own(self, state: State) -> Tensor:
        """[T] where in a state's fields the tokens of this step are stored."""
        group = self.group(state)

        def make() -> Tensor:
            if group.kind != "cross":
                return self.inputs.own(group.name).long()
            places = self.batch.places().astype(np.int64)
            blocks = self.batch.cross[group.name][self.batch.sequence_of(), places // group.block_size]
            return self.index(blocks * group.block_size + places % group.block_size)

        return self.once(("own", group.name), make)


#: ``kernel(step, node, *inputs) -> outputs``
Kernel = Callable[..., tuple[Tensor, ...]]
#: Kernels that run on every device of torch.
KERNELS: dict[str, Kernel] = {}
#: Kernels that are taken instead where Triton compiles for the device; those of fused ops have the graph keep them.
TRITON: dict[str, Kernel] = {}
#: Of each of those: which nodes it computes.
TAKES: dict[str, Callable[[Node], bool]] = {}


def kernel(name: str) -> Callable[[Kernel], Kernel]:
    """Register the decorated function as the torch kernel of an op."""

    def register(function: Kernel) -> Kernel:
        KERNELS[name] = function
        return function

    return register


def triton_kernel(name: str, takes: Callable[[Node], bool] = lambda node: True) -> Callable[[Kernel], Kernel]:
    """Register the decorated function, which launches a Triton kernel, as the kernel of an op's nodes that ``takes`` says.

    Other nodes (of a format that it does not know) run torch's kernel, or where they are fused as what they mean.
    """

    def register(function: Kernel) -> Kernel:
        TRITON[name], TAKES[name] = function, takes
        return function

    return register


def matrix(step: Step, node: Node, i: int = 0) -> Matrix:
    """A matrix that the node multiplies by, or takes rows of."""
    weight = node.weights[i]
    assert weight is not None, f"{node} lacks matrix {i}"
    return step.weights.matrix(weight)


def given(step: Step, node: Node, i: int) -> Tensor:
    """The node's i-th weight in f32, which it must have."""
    weight = node.weights[i]
    assert weight is not None, f"{node} lacks weight {i}"
    return step.weights.numbers(weight)


def weight(step: Step, node: Node, i: int) -> Tensor | None:
    """The node's i-th weight in f32, or None where it has none."""
    found = node.weights[i] if i < len(node.weights) else None
    return None if found is None else step.weights.numbers(found)
