"""Runs graphs node by node through the reference kernels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from heron.backends.base import Adapter, Array, Done, Options, Placement, Result, Ticket
from heron.backends.batch import Batch
from heron.backends.graph_executable import GraphExecutable

# The kernel modules register their kernels when they are imported.
from heron.backends.reference import attention, core, recurrent, routing  # noqa: F401
from heron.backends.reference.state import StateStore
from heron.backends.reference.step import KERNELS, AnyArray, Step
from heron.backends.sampling import Sampling
from heron.errors import UnsupportedError
from heron.graph.graph import Graph, Model, Value, Weight
from heron.graph.passes.decompose import decompose


class ReferenceExecutable(GraphExecutable[StateStore, Graph, Adapter]):
    """A model on numpy. Weights are dequantized when first used and kept in f32. Fused ops run as what they mean."""

    def __init__(self, model: Model, placement: Placement, options: Options) -> None:
        super().__init__(model, options, {name: decompose(graph) for name, graph in model.entries.items()})
        self.placement = placement
        if missing := sorted(self._ops - KERNELS.keys()):
            raise UnsupportedError(f"the reference backend has no kernel for {', '.join(missing)}, which {model.architecture} uses")
        self._weights: dict[int, tuple[Weight, Array]] = {}

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """All: numpy's products add up in an order that depends on how many rows there are."""
        return tuple(sorted(self._ops))

    def _make_ready(self, graph: Graph) -> Graph:
        return graph

    def _adapted(self, adapter: Adapter) -> Adapter:
        return adapter

    def _bytes(self) -> tuple[int, int]:
        return sum(array.nbytes for _, array in self._weights.values()), 0

    def allocate(self, units: Mapping[str, int]) -> None:
        self._states = StateStore(self.model, self.options.kv_dtype, dict(units))

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        assert sample is None, "this backend does not sample"
        graph = self._ready(entry, want)
        self._begin(entry, batch)
        step = Step(batch, self._weight, self._states, self._adapters, self.placement.communicator)
        values: dict[Value, AnyArray] = {graph.inputs[name]: self._input(name, batch) for name in graph.inputs}
        for node in graph.nodes:
            results = KERNELS[node.op](step, node, *(values[v] for v in node.inputs))
            values.update(zip(node.outputs, results, strict=True))
        arrays = {name: np.asarray(values[value], np.float32) for name, value in graph.outputs.items()}
        logits = arrays.get("logits", np.zeros((0, 1), np.float32))
        return Done(Result(arrays, np.logical_not(np.isfinite(logits).all(axis=-1))))

    @staticmethod
    def _input(name: str, batch: Batch) -> AnyArray:
        own = {"tokens": batch.tokens, "positions": batch.positions}
        return np.asarray(own[name], np.int32) if name in own else batch.given[name]

    def _weight(self, weight: Weight) -> Array:
        if id(weight) not in self._weights:
            self._weights[id(weight)] = (weight, weight.tensor.numpy())  # the weight is kept so that its id stays its own
        return self._weights[id(weight)][1]

    def close(self) -> None:
        super().close()
        self._weights.clear()
