"""Places in the cache: which blocks and slots are free, and which ones a sequence holds.

The engine owns numbers; the backend owns the bytes behind them. Unit 0 of every group is null.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import StateGroup
from heron.backends.batch import Batch
from heron.errors import RequestError

#: Stands in a sequence and in a batch for a token that a step under way has yet to choose.
UNKNOWN = -1


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

    def available(self, group: str) -> int:
        """Units that ``take`` can still give."""
        return len(self._free[group])


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
        self.recurrent = next((name for name, g in cache.groups.items() if g.kind == "slot"), "")  # a model has one such group at most
        self._slot = 0  # holds the state after all tokens; 0 is none
        self._resumed = 0  # the slot that the last step resumes from
        self._saved: dict[int, int] = {}  # slots that hold the state after so many tokens, fewer than all
        self._cross: dict[str, list[int]] = {name: [] for name, g in cache.groups.items() if g.kind == "cross"}
        self._source_length = 0

    def read(self, source: list[int]) -> Batch:
        """Begin anew with another source; return the step that encodes it."""
        return reading_step([(self, source)])

    def append(self, tokens: list[int], rows: Iterable[int]) -> Batch:
        """Make room for more tokens and return the step that computes them; ``rows`` of them give logits."""
        return next_step([(self, tokens, rows)])

    def _begin_with(self, source: list[int]) -> None:
        self._truncate(0)
        self._source_length = count = len(source)
        for name, blocks in self._cross.items():
            need = -(-count // self.cache.groups[name].block_size)
            self.cache.give(name, blocks[need:])
            blocks[need:] = [self.cache.take(name) for _ in range(need - len(blocks))]

    def _make_room(self, tokens: list[int], drafts: int) -> None:
        before, after = len(self.tokens), len(self.tokens) + len(tokens)
        for name, blocks in self._blocks.items():
            group = self.cache.groups[name]
            if group.window and drafts < len(tokens):  # a step of guesses alone may be taken back to before its own first token
                self._give_back(name, max(0, before - group.window + 1) // group.block_size)
            while (self._start[name] + len(blocks)) * group.block_size < after:
                blocks.append(self.cache.take(name))
        if self.recurrent:
            self._resumed = self._slot if before else 0
            self._slot = self._own_slot()
            self._save(range(after - drafts, after))
        self.tokens += tokens

    def learn(self, token: int) -> None:
        """Put the last token in, where it stands as UNKNOWN."""
        if self.tokens[-1:] == [UNKNOWN]:
            self.tokens[-1] = token

    def _own_slot(self) -> int:
        """A slot to write to."""
        return self._slot or self.cache.take(self.recurrent)

    def _save(self, lengths: Iterable[int]) -> None:
        """Have the step leave the state after so many tokens."""
        for length in lengths:
            if length not in self._saved:
                self._saved[length] = self.cache.take(self.recurrent)

    def _slot_writes(self, before: int) -> dict[int, int]:
        """Slot -> after how many of the step's tokens it receives the state."""
        if not self.recurrent:
            return {}
        return {slot: length - before for length, slot in self._saved.items() if length >= before} | {self._slot: len(self.tokens) - before}

    def _snapshots(self, before: int) -> Iterable[int]:
        """The lengths after which the step's state is worth keeping, if there is room."""
        return ()

    def _take_back(self, count: int) -> None:
        """Forget the last ``count`` tokens, which were drafts."""
        length = len(self.tokens) - count
        if self.recurrent:
            self.cache.give(self.recurrent, [self._slot])
            self._slot = self._saved.pop(length)
        self._truncate(length)

    def _give_saved(self, most: float = math.inf) -> None:
        """Let go of the saved states after up to so many tokens."""
        lengths = [length for length in self._saved if length <= most]
        self.cache.give(self.recurrent, [self._saved.pop(length) for length in lengths]) if lengths else None

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
        recurrent = bool(self.recurrent) and common < len(self.tokens)
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


def reading_step(parts: SequenceOf[tuple[Sequence, list[int]]]) -> Batch:
    """Begin sequences anew with other sources; return the step that encodes them all."""
    for sequence, source in parts:
        sequence._begin_with(source)
    sequences, sources = [sequence for sequence, _ in parts], [source for _, source in parts]
    lengths = _ints(map(len, sources))
    return Batch(_ints(chain(*sources)), _starts(lengths), lengths, _ints([]), cross=_tables([s._cross for s in sequences]))


@dataclass(slots=True)
class Span:
    """More tokens of a sequence: which ``rows`` of them give logits, and how many of the last are drafts, which may be taken back."""

    sequence: Sequence
    tokens: list[int]
    rows: Iterable[int] = ()
    drafts: int = 0


def next_step(parts: SequenceOf[tuple[Sequence, list[int], Iterable[int]] | Span]) -> Batch:
    """Make room for more tokens of different sequences and return the step that computes them all."""
    spans = [part if isinstance(part, Span) else Span(*part) for part in parts]
    sequences, before = [span.sequence for span in spans], [len(span.sequence.tokens) for span in spans]
    for span in spans:
        span.sequence._make_room(span.tokens, span.drafts)
    for sequence, length in zip(sequences, before, strict=True):  # of what is left when everybody has what they need
        wanted = [at for at in sequence._snapshots(length) if at not in sequence._saved]
        sequence._save(wanted[: sequence.cache.available(sequence.recurrent)] if wanted else ())
    writes = [sequence._slot_writes(length) for sequence, length in zip(sequences, before, strict=True)]
    starts = _starts(_ints(len(span.tokens) for span in spans))
    return Batch(
        tokens=_ints(chain(*(span.tokens for span in spans))),
        query_start=starts,
        context_len=_ints(len(sequence.tokens) for sequence in sequences),
        rows=_ints(start + row for start, span in zip(starts.tolist(), spans, strict=False) for row in span.rows),
        tables=_tables([sequence._blocks for sequence in sequences]),
        table_start={name: _ints(sequence._start[name] for sequence in sequences) for name in sequences[0]._start},
        slot_read=_ints(sequence._resumed for sequence in sequences),
        slot_write=_padded([list(slots) for slots in writes]),
        slot_offset=_padded([list(slots.values()) for slots in writes]),
        cross=_tables([sequence._cross for sequence in sequences]),
        cross_len=_ints(sequence._source_length for sequence in sequences),
    )


def _ints(values: Iterable[int]) -> NDArray[np.int32]:
    return np.array(list(values), np.int32)


def _starts(lengths: NDArray[np.int32]) -> NDArray[np.int32]:
    """[S + 1] where each of so many tokens begin, one after another."""
    return np.concatenate([[0], np.cumsum(lengths)], dtype=np.int32)


def _padded(lists: SequenceOf[list[int]]) -> NDArray[np.int32]:
    """[len(lists), longest], zeros after those that are shorter."""
    table = np.zeros((len(lists), max(map(len, lists))), np.int32)
    for row, values in zip(table, lists, strict=True):
        row[: len(values)] = values
    return table


def _tables(held: SequenceOf[Mapping[str, list[int]]]) -> dict[str, NDArray[np.int32]]:
    """Group -> [S, B] the blocks of each sequence, and null blocks after those of one that has fewer than another."""
    return {name: _padded([blocks[name] for blocks in held]) for name in held[0]}
