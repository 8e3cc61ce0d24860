"""Places in the cache: which blocks and slots are free, and which ones a sequence holds.

The engine owns numbers; the backend owns the bytes behind them. Unit 0 of every group is null.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import StateGroup
from heron.backends.batch import Batch
from heron.errors import RequestError


class Cache:
    """The free units of each group."""

    def __init__(self, groups: Iterable[StateGroup], units: Mapping[str, int]) -> None:
        self.groups = {group.name: group for group in groups}
        self._free = {name: list(range(units[name] - 1, 0, -1)) for name in self.groups}

    def take(self, group: str) -> int:
        """A free unit. Raises RequestError when none is left."""
        if not self._free[group]:
            raise RequestError("the context is full; ask for fewer tokens, or load the model with a larger --ctx-size")
        return self._free[group].pop()

    def give(self, group: str, units: Iterable[int]) -> None:
        self._free[group].extend(units)


def units_for(group: StateGroup, context: int, step: int) -> int:
    """Units that one sequence of up to ``context`` tokens needs, in steps of up to ``step`` tokens, the null unit included."""
    if group.kind == "slot":
        return 2
    tokens = min(context, group.window + step + group.block_size) if group.window else context
    return -(-tokens // group.block_size) + 2


class Sequence:
    """One sequence's tokens that the cache holds, and its units of each group."""

    def __init__(self, cache: Cache) -> None:
        self.cache = cache
        self.tokens: list[int] = []
        self._blocks: dict[str, list[int]] = {name: [] for name, g in cache.groups.items() if g.kind == "token"}
        self._start = dict.fromkeys(self._blocks, 0)  # blocks given back from the front, for windows
        self._slot = {name: 0 for name, g in cache.groups.items() if g.kind == "slot"}
        self._cross: dict[str, list[int]] = {name: [] for name, g in cache.groups.items() if g.kind == "cross"}
        self._source_length = 0

    def read(self, source: list[int]) -> Batch:
        """Begin anew with another source; return the step that encodes it."""
        self._truncate(0)
        self._source_length = count = len(source)
        for name, blocks in self._cross.items():
            need = -(-count // self.cache.groups[name].block_size)
            self.cache.give(name, blocks[need:])
            blocks[need:] = [self.cache.take(name) for _ in range(need - len(blocks))]
        tokens, length = np.asarray(source, np.int32), np.array([count], np.int32)
        return Batch(tokens, np.array([0, count], np.int32), length, np.zeros(0, np.int32), cross=self._cross_tables())

    def _cross_tables(self) -> dict[str, NDArray[np.int32]]:
        return {name: np.array([blocks], np.int32) for name, blocks in self._cross.items()}

    def append(self, tokens: list[int], rows: Iterable[int]) -> Batch:
        """Make room for more tokens and return the step that computes them; ``rows`` of them give logits."""
        before, after = len(self.tokens), len(self.tokens) + len(tokens)
        for name, blocks in self._blocks.items():
            group = self.cache.groups[name]
            if group.window:
                self._give_back(name, max(0, before - group.window + 1) // group.block_size)
            while (self._start[name] + len(blocks)) * group.block_size < after:
                blocks.append(self.cache.take(name))
        for name, slot in self._slot.items():
            self._slot[name] = slot or self.cache.take(name)
        slot = next(iter(self._slot.values()), 0)
        self.tokens += tokens
        return Batch(
            tokens=np.asarray(tokens, np.int32),
            query_start=np.array([0, len(tokens)], np.int32),
            context_len=np.array([after], np.int32),
            rows=np.asarray(list(rows), np.int32),
            tables={name: np.array([blocks], np.int32) for name, blocks in self._blocks.items()},
            table_start={name: np.array([start], np.int32) for name, start in self._start.items()},
            slot_read=np.array([slot if before else 0], np.int32),
            slot_write=np.array([[slot]], np.int32),
            cross=self._cross_tables(),
            cross_len=np.array([self._source_length], np.int32),
        )

    def _give_back(self, name: str, first: int) -> None:
        """Free the blocks before block ``first``, which no later token can see."""
        gone = max(0, first - self._start[name])
        self.cache.give(name, self._blocks[name][:gone])
        del self._blocks[name][:gone]
        self._start[name] += gone

    def keep_prefix(self, tokens: list[int]) -> int:
        """Forget all but the longest prefix shared with ``tokens`` that can be resumed; return its length.

        At least one token of ``tokens`` is left to compute, since its logits are wanted.
        """
        common = 0
        for old, new in zip(self.tokens, tokens[:-1], strict=False):
            if old != new:
                break
            common += 1
        recurrent = bool(self._slot) and common < len(self.tokens)
        slid = any(g.window and common - g.window + 1 < self._start[n] * g.block_size for n, g in self._window_groups())
        if recurrent or slid:
            common = 0
        self._truncate(common)
        return common

    def _window_groups(self) -> list[tuple[str, StateGroup]]:
        return [(name, self.cache.groups[name]) for name, start in self._start.items() if start]

    def _truncate(self, length: int) -> None:
        del self.tokens[length:]
        for name, blocks in self._blocks.items():
            if length == 0:
                self._start[name] = 0
            keep = -(-length // self.cache.groups[name].block_size) - self._start[name]
            self.cache.give(name, blocks[keep:])
            del blocks[keep:]


def last_row(tokens: list[int]) -> NDArray[np.int32]:
    return np.array([len(tokens) - 1], np.int32)


def joined(steps: SequenceOf[Batch]) -> Batch:
    """One step of the sequences of several, in their order; of steps without embeddings, drafts and copies.

    Where a sequence has fewer blocks than another, its table ends in null blocks.
    """
    if len(steps) == 1:
        return steps[0]
    starts = np.cumsum([0, *(len(step.tokens) for step in steps)], dtype=np.int32)[:-1]

    def flat(parts: Iterable[NDArray[np.int32]], axis: int = 0) -> NDArray[np.int32]:
        return np.concatenate(list(parts), axis=axis, dtype=np.int32)

    def tables(each: Iterable[Mapping[str, NDArray[np.int32]]]) -> dict[str, NDArray[np.int32]]:
        found = list(each)
        return {name: _stacked([table[name] for table in found]) for name in found[0]}

    return Batch(
        tokens=flat(step.tokens for step in steps),
        query_start=flat([steps[0].query_start, *(step.query_start[1:] + at for step, at in zip(steps[1:], starts[1:], strict=True))]),
        context_len=flat(step.context_len for step in steps),
        rows=flat(step.rows + at for step, at in zip(steps, starts, strict=True)),
        positions=flat((step.positions for step in steps), axis=1),
        tables=tables(step.tables for step in steps),
        table_start={name: flat(step.table_start[name] for step in steps) for name in steps[0].table_start},
        slot_read=flat(step.slot_read for step in steps),
        slot_write=flat(step.slot_write for step in steps),
        slot_offset=flat(step.slot_offset for step in steps),
        cross=tables(step.cross for step in steps),
        cross_len=flat(step.cross_len for step in steps),
        adapter=flat(step.adapter for step in steps),
    )


def _stacked(tables: list[NDArray[np.int32]]) -> NDArray[np.int32]:
    """Tables [S, B] one below another, each as wide as the widest."""
    width = max(table.shape[1] for table in tables)
    return np.concatenate([np.pad(table, ((0, 0), (0, width - table.shape[1]))) for table in tables], dtype=np.int32)
