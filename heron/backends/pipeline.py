"""A model on several executables, each with some of its layers: a step runs through one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from heron.backends.base import Adapter, Array, Executable, Memory, Result, StateGroup, Ticket
from heron.backends.batch import Batch
from heron.backends.sampling import Sampling
from heron.errors import BackendError, RequestError, UnsupportedError
from heron.graph.graph import Graph, Model
from heron.graph.passes.cut import cut

#: Makes a part of the model ready.
Prepare = Callable[[Model], Executable]


@dataclass(frozen=True)
class _Stage:
    """An entry of the part that runs it."""

    executable: Executable
    entry: str
    graph: Graph


@dataclass(frozen=True)
class _Last(Ticket):
    """The last stage, under way, and what was wanted of those before it."""

    ticket: Ticket
    before: Mapping[str, Array]

    def result(self) -> Result:
        result = self.ticket.result()
        return Result({**self.before, **result.arrays}, result.nonfinite)


class Pipeline(Executable):
    """The stages of a model cut at ``bounds`` (heron/graph/passes/cut.py). Stage i is part ``owners[i]``'s; ``parts`` makes each ready.

    What crosses a cut is handed over on the host, in f32. A group of states has the same units on each part that has some of
    it. ``export`` gives a unit's bytes part by part, which is the order of the layers: what the whole model on one backend
    gives, and takes. Raises UnsupportedError for a model with an encoder and a decoder.
    """

    def __init__(self, model: Model, bounds: Sequence[int], owners: Sequence[int], parts: Sequence[Prepare]) -> None:
        if len(model.entries) != 1:
            raise UnsupportedError(f"{model.architecture} has an encoder and a decoder, which cannot be divided by layers among backends")
        (self._entry, graph), self._model = next(iter(model.entries.items())), model
        self._known = {**graph.marks, **graph.outputs}
        stages = cut(graph, bounds)
        self._parts: list[Executable] = []
        self._targets: list[frozenset[str]] = []
        try:
            for part, prepare in enumerate(parts):
                mine = {stage.name: stage for stage, owner in zip(stages, owners, strict=True) if owner == part}
                self._parts.append(prepare(replace(model, entries=mine)))
                lora = (node for stage in mine.values() for node in stage.nodes if node.op == "lora")
                self._targets.append(frozenset(node.attrs["target"] for node in lora))
        except BaseException:
            self.close()
            raise
        self._stages = [_Stage(self._parts[owner], stage.name, stage) for stage, owner in zip(stages, owners, strict=True)]

    # What its parts say

    @property
    def threads(self) -> int:
        return max(part.threads for part in self._parts)

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        return tuple(sorted({op for part in self._parts for op in part.batch_dependent}))

    @property
    def to_come(self) -> int:
        return sum(part.to_come for part in self._parts)

    @property
    def memories(self) -> tuple[Memory, ...]:
        return tuple(memory for part in self._parts for memory in part.memories)

    def wait(self, enough: bool = False) -> None:
        for part in self._parts:
            part.wait(enough)

    def memory(self) -> dict[str, int]:
        total: dict[str, int] = {}
        for part in self._parts:
            for name, size in part.memory().items():
                total[name] = total.get(name, 0) + size
        return total

    def close(self) -> None:
        for part in self._parts:
            part.close()

    # States

    @property
    def state_groups(self) -> tuple[StateGroup, ...]:
        """In the model's order: what schedulers prefer must not depend on where layers are."""
        sizes: dict[str, int] = {}
        found: dict[str, StateGroup] = {}
        for group in (group for part in self._parts for group in part.state_groups):
            sizes[group.name] = sizes.get(group.name, 0) + group.unit_bytes
            found[group.name] = group
        return tuple(replace(found[name], unit_bytes=sizes[name]) for name in self._model.groups if name in found)

    def _holders(self, group: str) -> list[tuple[Executable, int]]:
        """The parts that have states of a group, and the bytes of a unit there."""
        return [(part, g.unit_bytes) for part in self._parts for g in part.state_groups if g.name == group]

    def allocate(self, units: Mapping[str, int]) -> None:
        for part in self._parts:
            part.allocate({group.name: units[group.name] for group in part.state_groups})

    def copy(self, group: str, source: int, destination: int) -> None:
        for part, _ in self._holders(group):
            part.copy(group, source, destination)

    def export(self, group: str, units: Iterable[int]) -> bytes:
        return b"".join(part.export(group, [unit]) for unit in units for part, _ in self._holders(group))

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        units, holders = list(units), self._holders(group)
        if len(data) != (size := len(units) * sum(size for _, size in holders)):
            raise BackendError(f"the data for group {group!r} hold {len(data)} bytes, its units {size}")
        at = 0
        for unit in units:
            for part, size in holders:
                part.import_(group, [unit], data[at : at + size])
                at += size

    # Steps

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        """Computes all stages but the last, which it starts."""
        if entry != self._entry:
            raise BackendError(f"this model has no entry {entry!r}; it has {self._entry}")
        wanted = tuple(want)
        if unknown := [name for name in wanted if name not in self._known]:
            raise RequestError(f"there is no output {unknown[0]!r} in {entry!r}; it has {', '.join(self._known)}")
        for group, source, destination in batch.copies:
            self.copy(group, source, destination)
        held: dict[str, Array] = {}
        ready: dict[str, Array] = {}
        for stage in self._stages[:-1]:
            asked = _asked(stage.graph, wanted)
            result = stage.executable.run(stage.entry, replace(batch, copies=(), given=held), asked)
            held |= result.arrays
            ready |= {name: result[name] for name in asked if name in wanted}
        last = self._stages[-1]
        ticket = last.executable.submit(last.entry, replace(batch, copies=(), given=held), _asked(last.graph, wanted))
        return _Last(ticket, ready)

    # Adapters

    def load_adapter(self, id: int, adapter: Adapter) -> None:
        if unknown := sorted(adapter.pairs.keys() - frozenset().union(*self._targets)):
            raise UnsupportedError(f"adapter {id} adapts {', '.join(unknown)}, which the model was not prepared to adapt")
        for part, targets in zip(self._parts, self._targets, strict=True):
            part.load_adapter(id, replace(adapter, pairs={name: pair for name, pair in adapter.pairs.items() if name in targets}))

    def drop_adapter(self, id: int) -> None:
        for part in self._parts:
            part.drop_adapter(id)


def _asked(graph: Graph, wanted: Sequence[str]) -> tuple[str, ...]:
    """What crosses to later stages, and what is wanted of this one."""
    crossing = tuple(name for name in graph.outputs if name.startswith("value:"))
    return (*crossing, *(name for name in wanted if name in graph.outputs or name in graph.marks))
