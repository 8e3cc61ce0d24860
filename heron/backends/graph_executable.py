"""What executables of a whole model share: each entry's graph made ready for what is wanted, a store of states, adapters by number."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Generic, Protocol, TypeVar

from heron.backends.base import Adapter, Executable, Options, StateGroup
from heron.backends.batch import Batch
from heron.backends.reference.state import state_groups
from heron.errors import BackendError, UnsupportedError
from heron.graph.graph import Graph, Model
from heron.graph.passes.tap import tap


class Store(Protocol):
    """Room for the model's states."""

    @property
    def nbytes(self) -> int: ...
    def copy(self, group: str, source: int, destination: int) -> None: ...
    def export(self, group: str, units: Iterable[int]) -> bytes: ...
    def import_(self, group: str, units: Iterable[int], data: bytes) -> None: ...


Stored = TypeVar("Stored", bound=Store)
Ready = TypeVar("Ready")
Adapted = TypeVar("Adapted")


class GraphExecutable(Executable, Generic[Stored, Ready, Adapted]):
    """``graphs`` are the model's entries as the backend runs them."""

    def __init__(self, model: Model, options: Options, graphs: Mapping[str, Graph]) -> None:
        self.model, self.options, self._graphs = model, options, graphs
        self._made: dict[tuple[str, tuple[str, ...]], Ready] = {}
        self._states: Stored | None = None
        self._adapters: dict[int, Adapted] = {}

    @abstractmethod
    def _make_ready(self, graph: Graph) -> Ready:
        """The graph as a step runs it, which is kept."""

    @abstractmethod
    def _adapted(self, adapter: Adapter) -> Adapted:
        """The adapter as steps use it."""

    @abstractmethod
    def _bytes(self) -> tuple[int, int]:
        """What weights and buffers hold."""

    @property
    def _ops(self) -> set[str]:
        return {node.op for graph in self._graphs.values() for node in graph.nodes}

    def _ready(self, entry: str, want: Iterable[str]) -> Ready:
        """The entry's graph, giving these outputs. Raises BackendError for an entry that is not there."""
        if entry not in self._graphs:
            raise BackendError(f"this model has no entry {entry!r}; it has {', '.join(self._graphs)}")
        key = (entry, tuple(want))
        if key not in self._made:
            self._made[key] = self._make_ready(tap(self._graphs[entry], key[1]))
        return self._made[key]

    # States

    @property
    def state_groups(self) -> tuple[StateGroup, ...]:
        return state_groups(self.model, self.options.kv_dtype)

    def _stored(self) -> Stored:
        if self._states is None:
            raise BackendError("allocate() comes first: the model's states have no room yet")
        return self._states

    def _begin(self, entry: str, batch: Batch) -> None:
        """What comes before a step's computation. Raises BackendError where states are needed that have no room."""
        if self._graphs[entry].states:
            self._stored()
        for group, source, destination in batch.copies:
            self.copy(group, source, destination)

    def copy(self, group: str, source: int, destination: int) -> None:
        self._stored().copy(group, source, destination)

    def export(self, group: str, units: Iterable[int]) -> bytes:
        return self._stored().export(group, units)

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        self._stored().import_(group, units, data)

    # The rest of the protocol

    def load_adapter(self, id: int, adapter: Adapter) -> None:
        if id < 1:
            raise BackendError(f"adapter {id}: adapters are numbered from 1; 0 is none")
        targets = {node.attrs["target"] for graph in self._graphs.values() for node in graph.nodes if node.op == "lora"}
        if unknown := sorted(adapter.pairs.keys() - targets):
            raise UnsupportedError(f"adapter {id} adapts {', '.join(unknown)}, which the model was not prepared to adapt")
        self._adapters[id] = self._adapted(adapter)

    def drop_adapter(self, id: int) -> None:
        self._adapters.pop(id, None)

    def memory(self) -> dict[str, int]:
        weights, buffers = self._bytes()
        return {"weights": weights, "state": self._states.nbytes if self._states else 0, "buffers": buffers}

    def close(self) -> None:
        self._made.clear()
        self._adapters.clear()
        self._states = None
