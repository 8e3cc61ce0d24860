"""Batch: one step's work, for any mixture of prompt chunks, decoded tokens and drafts of many sequences.

A step is ragged: T tokens of S sequences, the tokens of one sequence side by side. Everything that differs from
step to step stands here and is read inside ops, so one graph serves every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from heron.errors import BackendError

if TYPE_CHECKING:
    from heron.backends.base import Ticket

Ints = NDArray[np.int32]


def _none(*shape: int) -> Ints:
    return np.zeros(shape, np.int32)


@dataclass
class Batch:
    """Arrays of int32; block 0 and slot 0 are null (written by padding, never read)."""

    tokens: Ints  #: [T] token ids
    query_start: Ints  #: [S + 1] where each sequence's tokens begin in ``tokens``; the last entry is T
    context_len: Ints  #: [S] tokens of each sequence after this step, those of this step included
    rows: Ints  #: [R] the tokens (as indices into ``tokens``) whose logits are wanted
    positions: Ints = field(default_factory=lambda: _none(0, 0))  #: [P, T]; by default each token's place in its sequence
    tables: Mapping[str, Ints] = field(default_factory=dict)  #: group -> [S, B] block ids of each sequence
    table_start: Mapping[str, Ints] = field(default_factory=dict)  #: group -> [S] the place of a table's first block (in blocks)
    slot_read: Ints = field(default_factory=lambda: _none(0))  #: [S] the slot a sequence resumes from; 0 begins anew
    slot_write: Ints = field(default_factory=lambda: _none(0, 0))  #: [S, J] slots that receive the state ...
    slot_offset: Ints = field(default_factory=lambda: _none(0, 0))  #: [S, J] ... after this many of the sequence's tokens of this step
    cross: Mapping[str, Ints] = field(default_factory=dict)  #: group -> [S, B] block ids of the encoder's output
    cross_len: Ints = field(default_factory=lambda: _none(0))  #: [S] tokens of the encoder's output
    embeds: NDArray[np.float32] = field(default_factory=lambda: np.zeros((0, 0), np.float32))  #: [N, hidden]
    embed_rows: Ints = field(default_factory=lambda: _none(0))  #: [N] the tokens whose embeddings ``embeds`` replaces
    adapter: Ints = field(default_factory=lambda: _none(0))  #: [S] adapter of each sequence; 0 is none
    parents: Ints = field(
        default_factory=lambda: _none(0)
    )  #: [T] each draft's parent in ``tokens``, -1 for the context; empty without a tree
    given: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)  #: inputs of the graph beside tokens and positions, by name
    copies: tuple[tuple[str, int, int], ...] = ()  #: (group, source unit, destination unit), done before the step (copy on write)
    chained: Ticket | None = None  #: an earlier step of the same executable, which samples tokens of this one ...
    chained_from: Ints = field(default_factory=lambda: _none(0))  #: [T] ... by these of its rows; -1 where the token stands in ``tokens``

    def __post_init__(self) -> None:
        count = len(self.context_len)
        if not len(self.positions):
            self.positions = self.places()[None, :]
        if not len(self.slot_read):
            self.slot_read = _none(count)
        if not len(self.adapter):
            self.adapter = _none(count)
        if len(self.slot_write) and not len(self.slot_offset):
            self.slot_offset = np.broadcast_to(self.lengths()[:, None], self.slot_write.shape).astype(np.int32)
        self.check()

    def check(self) -> None:
        """Raise BackendError where the arrays do not fit together."""
        starts = self.query_start
        if len(starts) != len(self.context_len) + 1 or starts[0] != 0 or starts[-1] != len(self.tokens) or (np.diff(starts) < 0).any():
            raise BackendError(f"query_start {starts.tolist()} does not divide {len(self.tokens)} tokens among {self.sequences} sequences")
        if (self.lengths() > self.context_len).any():
            raise BackendError(f"context_len {self.context_len.tolist()} is shorter than the step's own tokens {self.lengths().tolist()}")
        if len(self.rows) and not (self.rows.min() >= 0 and self.rows.max() < len(self.tokens)):
            raise BackendError(f"rows {self.rows.tolist()} lie outside the step's {len(self.tokens)} tokens")
        if self.positions.shape[1:] != self.tokens.shape:
            raise BackendError(f"positions {self.positions.shape} do not fit {len(self.tokens)} tokens")
        if self.chained is not None and self.chained_from.shape != self.tokens.shape:
            raise BackendError(f"chained_from {self.chained_from.shape} does not fit {len(self.tokens)} tokens")
        if len(self.slot_write):
            self._check_slots()

    def _check_slots(self) -> None:
        if self.slot_write.shape != self.slot_offset.shape or len(self.slot_write) != self.sequences:
            raise BackendError(f"slot_write {self.slot_write.shape} and slot_offset {self.slot_offset.shape} are not [{self.sequences}, J]")
        outside = (self.slot_offset < 0) | (self.slot_offset > self.lengths()[:, None])
        if (outside & (self.slot_write > 0)).any():
            raise BackendError(f"slot_offset {self.slot_offset.tolist()} lies outside the step's tokens {self.lengths().tolist()}")

    @property
    def sequences(self) -> int:
        return len(self.context_len)

    @property
    def symbols(self) -> dict[str, int]:
        """The values of the graph's open sizes in this step."""
        return {"T": len(self.tokens), "R": len(self.rows), "S": self.sequences, "P": self.positions.shape[0]}

    def lengths(self) -> Ints:
        """[S] how many tokens of this step belong to each sequence."""
        return np.diff(self.query_start).astype(np.int32)

    def sequence_of(self) -> Ints:
        """[T] the sequence that each token belongs to."""
        return np.repeat(np.arange(self.sequences, dtype=np.int32), self.lengths())

    def places(self) -> Ints:
        """[T] each token's place in its sequence, counted from 0 over all steps."""
        starts = np.repeat(self.context_len - self.lengths() - self.query_start[:-1], self.lengths())
        return (starts + np.arange(len(self.tokens), dtype=np.int32)).astype(np.int32)
