"""Runs graphs node by node through torch's kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from heron.backends.base import Adapter, Memory, Options, Placement, Ticket
from heron.backends.batch import Batch
from heron.backends.graph_executable import GraphExecutable
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
from heron.errors import DeviceFull, UnsupportedError
from heron.graph.graph import Graph, Model
from heron.graph.passes.decompose import decompose


class TorchExecutable(GraphExecutable[StateStore, Plan, DeviceAdapter]):
    """A model on a device of torch. Weights are moved there when it is made. Fused ops without a kernel run as what they mean."""

    def __init__(self, model: Model, placement: Placement, options: Options) -> None:
        self.placement, self.device = placement, find_device(placement.device)
        self.dtype, self._choose = compute_dtype(self.device, options.dtype), choice(self.device)
        kept = self._choose if options.fuse else lambda node: None
        super().__init__(model, options, {name: decompose(graph, lambda node: bool(kept(node))) for name, graph in model.entries.items()})
        missing = sorted({node.op for graph in self._graphs.values() for node in graph.nodes if self._choose(node) is None})
        if missing:
            raise UnsupportedError(f"the torch backend has no kernel for {', '.join(missing)}, which {model.architecture} uses")
        if options.threads and self.device.type == "cpu":
            torch.set_num_threads(options.threads)  # of the whole process: torch has no others
        self._weights = TorchWeights(self.device, self.dtype, planar(self.device))
        try:
            for graph in self._graphs.values():
                self._weights.load(graph)
        except torch.OutOfMemoryError as error:
            raise DeviceFull(f"{self.device} has too little memory for the weights: {str(error).splitlines()[0]}") from error
        recorder = capture.recorder(self.device) if options.cuda_graphs else None
        self._replays = recorder and Replays(recorder, model.groups, lambda batch: self._step(batch, static=True))

    @property
    def threads(self) -> int:
        return torch.get_num_threads() if self.device.type == "cpu" else 1

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """All: torch's kernels choose how they add up by the shapes they are given."""
        return tuple(sorted(self._ops))

    @property
    def memories(self) -> tuple[Memory, ...]:
        return (Memory(self.state_groups, free_bytes(self.device)),)

    def _make_ready(self, graph: Graph) -> Plan:
        return Plan.of(graph, self._choose)

    def _adapted(self, adapter: Adapter) -> DeviceAdapter:
        def moved(down: object, up: object) -> tuple[Tensor, Tensor]:
            first, second = (torch.tensor(part, dtype=torch.float32) for part in (down, up))
            return first.to(self.device, self.dtype), (second * adapter.scale).to(self.device, self.dtype)

        return DeviceAdapter({name: moved(*pair) for name, pair in adapter.pairs.items()})

    def _bytes(self) -> tuple[int, int]:
        """What a step computes with is torch's allocator's, and not counted, but for what recorded steps hold."""
        return self._weights.nbytes, self._replays.nbytes if self._replays else 0

    def allocate(self, units: Mapping[str, int]) -> None:
        self._states = None  # what was there makes room
        if self._replays:
            self._replays.clear()
        try:
            self._states = StateStore(self.model, self.options.kv_dtype, units, self.device)
        except torch.OutOfMemoryError as error:
            raise failed(error) from error

    @property
    def samples(self) -> bool:
        """Where a ticket waits for its own step alone; elsewhere ``submit`` waits, and there is nothing to be done beside a step."""
        return self.device.type == "cuda"

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        want = tuple(want)
        plan = self._ready(entry, want if sample is None else dict.fromkeys((*want, "logits")))
        self._begin(entry, batch)
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

    def close(self) -> None:
        super().close()
        self._weights.clear()
        if self._replays:
            self._replays.clear()
