"""Runs lowered graphs: a step is one call into the core, with reference kernels between where an op has no native one."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from heron import _core
from heron.backends.base import Adapter, Array, Done, Options, Placement, Result, Ticket
from heron.backends.batch import Batch
from heron.backends.graph_executable import GraphExecutable
from heron.backends.native.lower import SYMBOLS, CoreValue, Fallback, Lowered, for_native, lower, runs_natively
from heron.backends.native.weights import NativeWeights
from heron.backends.reference.state import StateStore
from heron.backends.reference.step import KERNELS, AnyArray, Step
from heron.backends.sampling import Sampling
from heron.errors import BackendError, UnsupportedError
from heron.graph.dims import resolve_shape
from heron.graph.graph import Graph, Model, Weight

#: Ops whose only kernel is the reference's, here too: they call other ranks, run where an adapter is loaded, or measure.
PYTHON_OPS = frozenset({"all_reduce", "all_gather", "lora", "squares", "expert_squares"})

#: Arrays of the batch that the core reads.
BATCH_INTS = (
    *("tokens", "positions", "query_start", "context_len", "rows", "cross_len", "embed_rows", "parents"),
    *("slot_read", "slot_write", "slot_offset"),
)


class NativeExecutable(GraphExecutable[StateStore, Lowered, Adapter]):
    """A model on the CPU. Weights are packed in the background, which the first step need not wait for.

    States lie in numpy arrays, which both sides see.
    """

    def __init__(self, model: Model, placement: Placement, options: Options) -> None:
        super().__init__(model, options, {name: for_native(graph, options.fuse) for name, graph in model.entries.items()})
        self.placement = placement
        try:
            self._runtime = _core.Runtime(options.threads or 0)
        except RuntimeError as error:  # HERON_ISA names what this CPU does not run
            raise BackendError(str(error)) from None
        self._weights = NativeWeights(self._runtime, options.repack, options.mlock)
        self._fields = self._declare_states()
        self._reference_weights: dict[int, tuple[Weight, Array]] = {}
        self._check_fallbacks()
        for entry, graph in self._graphs.items():
            self._ready(entry, graph.outputs)
        self._weights.start()

    @property
    def to_come(self) -> int:
        return self._weights.to_come

    def wait(self, enough: bool = False) -> None:
        if not (enough and self._weights.may_begin_early):
            self._weights.wait()

    def _declare_states(self) -> dict[tuple[str, str], int]:
        """Tell the core of groups and fields, in an order that it and we count them by."""
        self._groups = list(self.model.groups.values())
        index = {group.name: i for i, group in enumerate(self._groups)}
        for group in self._groups:
            self._runtime.add_group(group.name, group.kind, group.block_size)
        fields: dict[tuple[str, str], int] = {}
        for state in self.model.states.values():
            for name, field in state.fields:
                fields[state.name, name] = len(fields)
                self._runtime.add_field(index[state.group], self.options.kv_dtype if field.dtype == "kv" else field.dtype)
        return fields

    def _check_fallbacks(self) -> None:
        ops = {node.op for graph in self._graphs.values() for node in graph.nodes if not runs_natively(node)}
        if ops:  # these modules register their kernels when they are imported
            from heron.backends.reference import attention, core, recurrent, routing  # noqa: F401
        if missing := sorted(ops - KERNELS.keys()):
            raise UnsupportedError(f"no kernel computes {', '.join(missing)}, which this {self.model.architecture} model uses")
        self._fallbacks = tuple(sorted(ops))
        if slow := sorted(ops - PYTHON_OPS):
            warnings.warn(f"{', '.join(slow)} run on the (slow) reference kernels: the native backend has none for them yet", stacklevel=4)

    def _make_ready(self, graph: Graph) -> Lowered:
        return lower(graph, self._runtime, self._weights, self._fields, self.options.activations)

    def _adapted(self, adapter: Adapter) -> Adapter:
        return adapter

    def _bytes(self) -> tuple[int, int]:
        kept = sum(array.nbytes for _, array in self._reference_weights.values())
        return self._weights.nbytes + kept, self._runtime.arena_bytes

    @property
    def threads(self) -> int:
        return self._runtime.threads

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """Those that run on reference kernels, whose products are numpy's; the core's kernels add up a row in one order."""
        return self._fallbacks

    def allocate(self, units: Mapping[str, int]) -> None:
        self._states = states = StateStore(self.model, self.options.kv_dtype, dict(units))
        for i, group in enumerate(self._groups):
            self._runtime.set_units(i, units[group.name])
        for key, i in self._fields.items():
            data = states.fields[key].data
            self._runtime.set_field(i, data.reshape(len(data), -1).view(np.uint8))

    # Steps

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        assert sample is None, "this backend does not sample"
        lowered = self._ready(entry, want)
        self._refuse_trees(entry, batch)
        self._begin(entry, batch)
        symbols = batch.symbols
        roots = {value: np.empty(resolve_shape(value.shape, symbols), np.float32) for value in lowered.outputs}
        try:
            with self._weights.in_use():
                self._run(lowered, batch, symbols, list(roots.values()))
        except _core.ProgramError as error:
            raise BackendError(str(error)) from None
        arrays = {name: roots[root].reshape(resolve_shape(value.shape, symbols)) for name, (value, root) in lowered.named.items()}
        logits = arrays.get("logits")
        nonfinite = np.zeros(0, np.bool_) if logits is None else ~np.array(_core.finite_rows(logits), np.bool_)
        return Done(Result(arrays, nonfinite))

    def _refuse_trees(self, entry: str, batch: Batch) -> None:
        """As the reference kernels do, where a recurrence would take the drafts of a tree for one line."""
        for node in self._graphs[entry].nodes if len(batch.parents) else ():
            if any(self.model.groups[state.group].kind == "slot" for state in node.writes):
                from heron.backends.reference.attention import refuse_trees

                refuse_trees(batch, node.op)

    def _run(self, lowered: Lowered, batch: Batch, symbols: Mapping[str, int], outputs: list[Array]) -> None:
        # The core keeps pointers into these arrays until the step ends.
        ints = {name: _ints(getattr(batch, name)) for name in BATCH_INTS}
        embeds = _floats(batch.embeds)
        tables = [self._table(batch, group.name, group.kind) for group in self._groups]
        lowered.program.begin(
            tuple(symbols[name] for name in SYMBOLS),
            ints["query_start"],
            ints["context_len"],
            ints["rows"],
            ints["cross_len"],
            ints["embed_rows"],
            embeds,
            ints["parents"],
            ints["slot_read"],
            ints["slot_write"],
            ints["slot_offset"],
            tables,
            [*(ints[name] if name in ints else _floats(batch.given[name]) for name in lowered.inputs), *outputs],
        )
        step: Step | None = None
        for part in lowered.steps:
            if isinstance(part, Fallback):
                step = step or Step(batch, self._reference_weight, self._states, self._adapters, self.placement.communicator)
                _fall_back(lowered.program, part, step)
            else:
                lowered.program.run(part.first, part.last)

    @staticmethod
    def _table(batch: Batch, group: str, kind: str) -> tuple[NDArray[np.int32], NDArray[np.int32] | None] | None:
        if kind == "cross":
            return (_ints(batch.cross[group]), None) if group in batch.cross else None
        if group not in batch.tables:
            return None
        start = batch.table_start.get(group)
        return _ints(batch.tables[group]), None if start is None else _ints(start)

    def _reference_weight(self, weight: Weight) -> Array:
        if id(weight) not in self._reference_weights:
            self._reference_weights[id(weight)] = (weight, weight.tensor.numpy())
        return self._reference_weights[id(weight)][1]

    def close(self) -> None:
        super().close()
        self._weights.clear()
        self._reference_weights.clear()


def _ints(array: NDArray[np.int32]) -> NDArray[np.int32]:
    return np.ascontiguousarray(array, np.int32)


def _floats(array: Array) -> Array:
    return np.ascontiguousarray(array, np.float32)


def _view(program: _core.Program, value: CoreValue, dtype: str) -> AnyArray:
    view: AnyArray = program.view_f32(value) if dtype == "f32" else program.view_i32(value)
    return view


def _fall_back(program: _core.Program, part: Fallback, step: Step) -> None:
    """Run a node's reference kernel on the program's buffers."""
    node = part.node
    inputs = [_view(program, at, v.dtype) for at, v in zip(part.inputs, node.inputs, strict=True)]
    results = KERNELS[node.op](step, node, *inputs)
    for at, value, result in zip(part.outputs, node.outputs, results, strict=True):
        _view(program, at, value.dtype)[...] = result
