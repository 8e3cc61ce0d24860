"""Runs graphs node by node through the reference kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from heron.backends.base import Adapter, Array, Done, Executable, Options, Placement, Result, StateGroup, Ticket
from heron.backends.batch import Batch

# The kernel modules register their kernels when they are imported.
from heron.backends.reference import attention, core, recurrent, routing  # noqa: F401
from heron.backends.reference.state import StateStore, state_groups
from heron.backends.reference.step import KERNELS, AnyArray, Step
from heron.backends.sampling import Sampling
from heron.errors import BackendError, UnsupportedError
from heron.graph.graph import Graph, Model, Value, Weight
from heron.graph.passes.decompose import decompose
from heron.graph.passes.tap import tap


class ReferenceExecutable(Executable):
    """A model on numpy. Weights are dequantized when first used and kept in f32. Fused ops run as what they mean."""

    def __init__(self, model: Model, placement: Placement, options: Options) -> None:
        self.model, self.placement, self.options = model, placement, options
        self._graphs = {name: decompose(graph) for name, graph in model.entries.items()}
        missing = sorted({node.op for graph in self._graphs.values() for node in graph.nodes} - KERNELS.keys())
        if missing:
            raise UnsupportedError(f"the reference backend has no kernel for {', '.join(missing)}, which {model.architecture} uses")
        self._tapped: dict[tuple[str, tuple[str, ...]], Graph] = {}
        self._weights: dict[int, tuple[Weight, Array]] = {}
        self._adapters: dict[int, Adapter] = {}
        self._states: StateStore | None = None

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """All: numpy's products add up in an order that depends on how many rows there are."""
        return tuple(sorted({node.op for graph in self._graphs.values() for node in graph.nodes}))

    @property
    def state_groups(self) -> tuple[StateGroup, ...]:
        return state_groups(self.model, self.options.kv_dtype)

    def allocate(self, units: Mapping[str, int]) -> None:
        self._states = StateStore(self.model, self.options.kv_dtype, dict(units))

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        assert sample is None, "this backend does not sample"
        graph = self._graph(entry, tuple(want))
        if self._states is None and graph.states:
            raise BackendError("run() before allocate(): the model's states have no room yet")
        for group, source, destination in batch.copies:
            self.copy(group, source, destination)
        step = Step(batch, self._weight, self._states, self._adapters, self.placement.communicator)
        values: dict[Value, AnyArray] = {graph.inputs[name]: self._input(name, batch) for name in graph.inputs}
        for node in graph.nodes:
            results = KERNELS[node.op](step, node, *(values[v] for v in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
        arrays = {name: np.asarray(values[value], np.float32) for name, value in graph.outputs.items()}
        logits = arrays.get("logits", np.zeros((0, 1), np.float32))
        return Done(Result(arrays, np.logical_not(np.isfinite(logits).all(axis=-1))))

    def _graph(self, entry: str, want: tuple[str, ...]) -> Graph:
        if entry not in self._graphs:
            raise BackendError(f"this model has no entry {entry!r}; it has {', '.join(self._graphs)}")
        key = (entry, want)
        if key not in self._tapped:
            self._tapped[key] = tap(self._graphs[entry], want)
        return self._tapped[key]

    @staticmethod
    def _input(name: str, batch: Batch) -> AnyArray:
        own = {"tokens": batch.tokens, "positions": batch.positions}
        return np.asarray(own[name], np.int32) if name in own else batch.given[name]

    def _weight(self, weight: Weight) -> Array:
        if id(weight) not in self._weights:
            self._weights[id(weight)] = (weight, weight.tensor.numpy())  # the weight is kept so that its id stays its own
        return self._weights[id(weight)][1]

    def copy(self, group: str, source: int, destination: int) -> None:
        assert self._states is not None
        self._states.copy(group, source, destination)

    def export(self, group: str, units: Iterable[int]) -> bytes:
        assert self._states is not None
        return self._states.export(group, units)

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        assert self._states is not None
        self._states.import_(group, units, data)

    def load_adapter(self, id: int, adapter: Adapter) -> None:
        if id < 1:
            raise BackendError(f"adapter {id}: adapters are numbered from 1; 0 is none")
        targets = {node.attrs["target"] for graph in self._graphs.values() for node in graph.nodes if node.op == "lora"}
        if unknown := sorted(adapter.pairs.keys() - targets):
            raise UnsupportedError(f"adapter {id} adapts {', '.join(unknown)}, which the model was not prepared to adapt")
        self._adapters[id] = adapter

    def drop_adapter(self, id: int) -> None:
        self._adapters.pop(id, None)

    def memory(self) -> dict[str, int]:
        return {
            "weights": sum(array.nbytes for _, array in self._weights.values()),
            "state": self._states.nbytes if self._states else 0,
            "buffers": 0,
        }

    def close(self) -> None:
        self._weights.clear()
        self._states = None
