"""Decode steps that are recorded once and replayed: the host fills one buffer and launches one graph, whatever the number of ops.

A step can be replayed if each sequence has as many tokens as every other, all of which give logits: one token each, or drafts behind
it. The number of sequences is rounded up to a bucket, the width of block tables to a capacity; the rest is padding: sequences whose
blocks and slots are null, whose results nobody reads.
"""

from __future__ import annotations

import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import torch
from torch import Tensor

from heron.backends.batch import Batch
from heron.backends.torch.capture import Capture
from heron.backends.torch.inputs import Inputs, arrays
from heron.backends.torch.plan import NONFINITE, Plan
from heron.backends.torch.step import NotStatic, Step
from heron.backends.torch.ticket import sampled
from heron.graph.dims import resolve_shape
from heron.graph.graph import Group

#: Numbers of sequences that steps are padded to. Larger steps keep a device busy for longer than the host takes to launch them.
BUCKETS = (1, 2, 4, *range(8, 257, 8))

#: Tokens of each sequence in a step that is replayed, drafts included.
MOST_TOKENS = 8

#: Block tables are as wide as this, or a power of two times as wide.
LEAST_WIDTH = 64


@dataclass(frozen=True)
class Shape:
    """All that steps share which replay one recording."""

    sequences: int
    tokens: int  #: of each sequence
    axes: int  #: of positions
    saves: tuple[int, ...]  #: after how many tokens a recurrent state is written, to each of the slots
    widths: tuple[tuple[str, int], ...]  #: of each group's block table

    @staticmethod
    def of(batch: Batch) -> Shape | None:
        """The shape of the recording that the step can replay, if there can be one."""
        count, total = batch.sequences, len(batch.tokens)
        n = total // count if count else 0
        if (
            not 1 <= n <= MOST_TOKENS
            or count > BUCKETS[-1]
            or (batch.lengths() != n).any()
            or not np.array_equal(batch.rows, np.arange(total))
        ):
            return None
        if len(batch.parents) or len(batch.embed_rows) or batch.given or batch.adapter.any():
            return None
        saves = batch.slot_offset.max(0).tolist() if batch.slot_offset.size else []
        if ((batch.slot_offset != saves) & (batch.slot_write > 0)).any():
            return None
        widths = [(name, _capacity(table.shape[1])) for name, table in {**batch.tables, **batch.cross}.items()]
        return Shape(BUCKETS[bisect_left(BUCKETS, count)], n, len(batch.positions), tuple(saves), tuple(sorted(widths)))

    def padding(self, groups: Mapping[str, Group]) -> Batch:
        """A step of nothing else."""
        count, n = self.sequences, self.tokens
        lengths, blocks = np.full(count, n, np.int32), {name: np.zeros((count, width), np.int32) for name, width in self.widths}
        crossing = {name for name in blocks if name in groups and groups[name].kind == "cross"}
        return Batch(
            tokens=np.zeros(count * n, np.int32),
            query_start=np.arange(count + 1, dtype=np.int32) * n,
            context_len=lengths,
            rows=np.arange(count * n, dtype=np.int32),
            positions=np.zeros((self.axes, count * n), np.int32),
            tables={name: table for name, table in blocks.items() if name not in crossing},
            slot_write=np.zeros((count, len(self.saves)), np.int32),
            slot_offset=np.tile(np.array(self.saves, np.int32), (count, 1)),
            cross={name: blocks[name] for name in crossing},
            cross_len=np.ones(count, np.int32),
        )


def _capacity(width: int) -> int:
    return max(LEAST_WIDTH, 1 << max(0, width - 1).bit_length())


@dataclass(frozen=True)
class Recording:
    inputs: Inputs
    replay: Callable[[], None]
    outputs: Mapping[str, Tensor]


class Replays:
    """Recordings by plan and shape. Their results lie in memory that they share: what ``run`` gives holds until it runs again."""

    def __init__(self, capture: Capture, groups: Mapping[str, Group], step: Callable[[Batch], Step]) -> None:
        """``step`` makes the static step of a batch that is all padding."""
        self._capture, self._groups, self._step = capture, groups, step
        self._recordings: dict[tuple[Plan, Shape], Recording | None] = {}
        self._results: dict[str, Tensor] = {}
        self._works = True

    def run(self, plan: Plan, batch: Batch) -> dict[str, Tensor] | None:
        """The plan's outputs for the step; None where it has to be run node by node."""
        shape = Shape.of(batch) if self._works else None
        if shape is None:
            return None
        if (plan, shape) not in self._recordings:
            self._recordings[plan, shape] = self._record(plan, shape)
        recording = self._recordings[plan, shape]
        if recording is None:
            return None
        recording.inputs.fill(arrays(batch, self._groups))
        if batch.chained is not None:
            recording.inputs.chain(sampled(batch.chained))
        recording.replay()
        symbols = batch.symbols
        real = {name: tuple(map(slice, resolve_shape(shape, symbols))) for name, shape in plan.outputs.items()}
        return {name: value[real[name]] for name, value in recording.outputs.items()}

    def _record(self, plan: Plan, shape: Shape) -> Recording | None:
        padding = shape.padding(self._groups)
        step, symbols = self._step(padding), padding.symbols
        outputs = {name: self._memory(name, resolve_shape(size, symbols), step.device) for name, size in plan.outputs.items()}

        def launch() -> None:
            for name, value in plan.run(replace(step)).items():
                outputs[name].copy_(value)

        try:
            return Recording(step.inputs, self._capture.capture(launch), outputs)
        except NotStatic:
            return None
        except RuntimeError as error:
            self._works = False
            warnings.warn(f"steps run node by node from here on: recording one failed ({error})", stacklevel=4)
            return None

    def _memory(self, name: str, shape: tuple[int, ...], device: torch.device) -> Tensor:
        """Room for a result: smaller ones share the largest's."""
        held, need = self._results.get(name), prod(shape)
        if held is None or len(held) < need:
            dtype = torch.bool if name == NONFINITE else torch.float32
            held = self._results[name] = torch.empty(1 << (need - 1).bit_length(), dtype=dtype, device=device)
        return held[:need].view(shape)

    @property
    def nbytes(self) -> int:
        held = [t for each in self._recordings.values() if each for t in (each.inputs.buffer, *each.outputs.values())]
        storages = {t.data_ptr(): t.untyped_storage().nbytes() for t in held}
        return self._capture.nbytes + sum(storages.values())

    def clear(self) -> None:
        """Let all recordings go: what they read or write has moved."""
        self._recordings.clear()
        self._results.clear()
        self._capture.clear()
