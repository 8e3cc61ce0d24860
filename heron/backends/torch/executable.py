"""Runs graphs node by node through torch's kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from heron.backends.base import Adapter, Executable, Memory, Options, Placement, StateGroup, Ticket
from heron.backends.batch import Batch
from heron.backends.reference.state import state_groups
from heron.backends.sampling import Sampling
from heron.backends.torch import capture
from heron.backends.torch.device import compute_dtype, find_device, free_bytes
from heron.backends.torch.inputs import Inputs, arrays
from heron.backends.torch.plan import Plan, choice
from heron.backends.torch.planes import planar
from heron.backends.torch.replay import Replays
from heron.backends.torch.state import StateStore
from heron.backends.torch.step import DeviceAdapter, Step
from heron.backends.torch.ticket import OnDevice, failed, sampled
from heron.backends.torch.weights import TorchWeights
from heron.errors import BackendError, UnsupportedError
from heron.graph.graph import Model
from heron.graph.passes.decompose import decompose
from heron.graph.passes.tap import tap


class TorchExecutable(Executable):
    """A model on a device of torch. Weights are moved there when it is made. Fused ops without a kernel run as what they mean."""

    def __init__(self, model: Model, placement: Placement, options: Options) -> None:
        self.model, self.placement, self.options = model, placement, options
        self.device = find_device(placement.device)
        self.dtype = compute_dtype(self.device, options.dtype)
        self._choose = choice(self.device)
        self._graphs = {
            name: decompose(graph, lambda node: options.fuse and bool(self._choose(node))) for name, graph in model.entries.items()
        }
        missing = sorted({node.op for graph in self._graphs.values() for node in graph.nodes if self._choose(node) is None})
        if missing:
            raise UnsupportedError(f"the torch backend has no kernel for {', '.join(missing)}, which {model.architecture} uses")
        if options.threads and self.device.type == "cpu":
            torch.set_num_threads(options.threads)  # of the whole process: torch has no others
        self._plans: dict[tuple[str, tuple[str, ...]], Plan] = {}
        self._weights = TorchWeights(self.device, self.dtype, planar(self.device))
        try:
            for graph in self._graphs.values():
                self._weights.load(graph)
        except torch.OutOfMemoryError as error:
            raise BackendError(f"{self.device} has too little memory for the weights: {str(error).splitlines()[0]}") from error
        self._adapters: dict[int, DeviceAdapter] = {}
        self._states: StateStore | None = None
        recorder = capture.recorder(self.device) if options.cuda_graphs else None
        self._replays = recorder and Replays(recorder, model.groups, lambda batch: self._step(batch, static=True))

    @property
    def threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """All: torch's kernels choose how they add up by the shapes they are given."""
        return tuple(sorted({node.op for graph in self._graphs.values() for node in graph.nodes}))

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.state_groups, free_bytes(self.device)),)

    # States

    @property
    def state_groups(self) -> tuple[StateGroup, ...]:
        return state_groups(self.model, self.options.kv_dtype)

    def allocate(self, units: Mapping[str, int]) -> None:
        self._states = None  # what was there makes room
        if self._replays:
            self._replays.clear()
        try:
            self._states = StateStore(self.model, self.options.kv_dtype, units, self.device)
        except torch.OutOfMemoryError as error:
            raise failed(error) from error

    def _stored(self) -> StateStore:
        if self._states is None:
            raise BackendError("allocate() comes first: the model's states have no room yet")
        return self._states

    def copy(self, group: str, source: int, destination: int) -> None:
        self._stored().copy(group, source, destination)

    def export(self, group: str, units: Iterable[int]) -> bytes:
        return self._stored().export(group, units)

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        self._stored().import_(group, units, data)

    # Steps

    @property
    def samples(self) -> bool:
        return True

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        want = tuple(want)
        plan = self._plan(entry, want if sample is None else tuple(dict.fromkeys((*want, "logits"))))
        if plan.graph.states:
            self._stored()
        for group, source, destination in batch.copies:
            self.copy(group, source, destination)
        try:
            with torch.inference_mode():
                values = self._replays.run(plan, batch) if self._replays else None
                return OnDevice(values or plan.run(self._step(batch)), want, sample)
        except RuntimeError as error:
            raise failed(error) from error

    def _step(self, batch: Batch, static: bool = False) -> Step:
        inputs = Inputs(arrays(batch, self.model.groups), self.device)
        if batch.chained is not None:
            inputs.chain(sampled(batch.chained))
        return Step(
            batch, inputs, self.device, self.dtype, self._weights, self._states, self._adapters, self.placement.communicator, static
        )

    def _plan(self, entry: str, want: tuple[str, ...]) -> Plan:
        if entry not in self._graphs:
            raise BackendError(f"this model has no entry {entry!r}; it has {', '.join(self._graphs)}")
        key = (entry, want)
        if key not in self._plans:
            self._plans[key] = Plan.of(tap(self._graphs[entry], want), self._choose)
        return self._plans[key]

    # The rest of the protocol

    def load_adapter(self, id: int, adapter: Adapter) -> None:
        if id < 1:
            raise BackendError(f"adapter {id}: adapters are numbered from 1; 0 is none")
        targets = {node.attrs["target"] for graph in self._graphs.values() for node in graph.nodes if node.op == "lora"}
        if unknown := sorted(adapter.pairs.keys() - targets):
            raise UnsupportedError(f"adapter {id} adapts {', '.join(unknown)}, which the model was not prepared to adapt")

        def moved(down: object, up: object) -> tuple[Tensor, Tensor]:
            first, second = (torch.tensor(part, dtype=torch.float32) for part in (down, up))
            return first.to(self.device, self.dtype), (second * adapter.scale).to(self.device, self.dtype)

        self._adapters[id] = DeviceAdapter({name: moved(*pair) for name, pair in adapter.pairs.items()})

    def drop_adapter(self, id: int) -> None:
        self._adapters.pop(id, None)

    def memory(self) -> dict[str, int]:
        """What a step computes with is torch's allocator's, and not counted, but for what recorded steps hold."""
        recorded = self._replays.nbytes if self._replays else 0
        return {"weights": self._weights.nbytes, "state": self._states.nbytes if self._states else 0, "buffers": recorded}

    def close(self) -> None:
        if self._replays:
            self._replays.clear()
        self._weights.clear()
        self._adapters.clear()
        self._states = None
