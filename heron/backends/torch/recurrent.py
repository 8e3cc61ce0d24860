"""Torch kernels of recurrent mixers, in f32. Shapes and meanings: heron/graph/ops_recurrent.py.

Sequences with equally many tokens advance side by side, token by token. A sequence resumes from its ``slot_read`` (0: from
nothing) and its state is saved in each ``slot_write`` after as many of its tokens as ``slot_offset`` says.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.reference.attention import refuse_trees
from heron.backends.torch.step import Step, given, kernel, weight
from heron.backends.torch.views import equally_long
from heron.graph.graph import Node

Ints = NDArray[np.int64]


class Slots:
    """A field's slots in a step. Writes wait for ``finish``: one sequence may write the slot that another reads."""

    def __init__(self, step: Step, node: Node, field: str) -> None:
        refuse_trees(step.batch, node.op)
        self._step, self._store = step, step.field(node.writes[0], field)
        self._saved: list[tuple[Tensor, Tensor]] = []

    def begin(self, sequences: Ints) -> Tensor:
        """[G, *shape] what the sequences resume from."""
        slots = self._step.index(self._step.batch.slot_read[sequences])
        states = self._store.read(slots, torch.float32)
        return torch.where((slots > 0).reshape(-1, *(1,) * len(self._store.shape)), states, 0)

    def due(self, sequences: Ints) -> dict[int, tuple[Ints, Ints]]:
        """After how many tokens which of the sequences are saved, and in which slots."""
        batch = self._step.batch
        if not len(batch.slot_write):
            return {}
        slots, offsets = batch.slot_write[sequences], batch.slot_offset[sequences]
        found = {}
        for offset in np.unique(offsets[slots > 0]).tolist():
            row, column = np.nonzero((slots > 0) & (offsets == offset))
            found[offset] = (row, slots[row, column].astype(np.int64))
        return found

    def save(self, due: tuple[Ints, Ints], states: Tensor) -> None:
        self._saved.append((self._step.index(due[1]), states[self._step.index(due[0])]))

    def finish(self) -> None:
        for slots, states in self._saved:
            self._store.write(slots, states)


@kernel("causal_conv")
def causal_conv(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    taps, bias, slots = given(step, node, 0), weight(step, node, 1), Slots(step, node, "window")  # [C, K]
    y, before = torch.zeros_like(x), taps.shape[1] - 1
    for sequences, tokens in equally_long(step):
        at, n = step.index(tokens), tokens.shape[1]
        full = torch.cat([slots.begin(sequences), x[at].float()], 1)  # [G, K-1+n, C]
        mixed = sum((full[:, k : k + n] * taps[:, k] for k in range(1, before + 1)), full[:, :n] * taps[:, 0])
        y[at] = (mixed if bias is None else mixed + bias).to(x.dtype)
        for offset, due in slots.due(sequences).items():
            slots.save(due, full[:, offset : offset + before])
    slots.finish()
    return (y,)


#: Inputs [G, n, ...] -> what happens at each token: ``advance(i, state) -> state, output``.
Prepare = Callable[..., Callable[[int, Tensor], tuple[Tensor, Tensor]]]


def _scan(step: Step, node: Node, out: Tensor, prepare: Prepare, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Every token's output in ``out``, in the order of the sequences, with states loaded and saved."""
    slots, y = Slots(step, node, "matrix"), torch.empty_like(out)
    for sequences, tokens in equally_long(step):
        at, state, due = step.index(tokens), slots.begin(sequences), slots.due(sequences)
        advance = prepare(*(x[at].float() for x in inputs))
        outputs = []
        for i in range(tokens.shape[1]):
            if i in due:
                slots.save(due[i], state)
            state, output = advance(i, state)
            outputs.append(output)
        if tokens.shape[1] in due:
            slots.save(due[tokens.shape[1]], state)
        y[at] = torch.stack(outputs, 1).to(y.dtype)
    slots.finish()
    return (y,)


@kernel("selective_scan")
def selective_scan(step: Step, node: Node, x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, ...]:
    rate, share = given(step, node, 0), x.shape[1] // write.shape[1]  # [H, N] or [H, 1]

    def prepare(x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> Callable[[int, Tensor], tuple[Tensor, Tensor]]:
        decay = torch.exp(dt[..., None] * rate)[..., None, :]  # [G, n, H, 1, N]
        taken = (dt[..., None] * x)[..., None]  # [G, n, H, P, 1]
        write, read = (w.repeat_interleave(share, 2) for w in (write, read))

        def advance(i: int, state: Tensor) -> tuple[Tensor, Tensor]:  # [G, H, P, N]
            state = decay[:, i] * state + taken[:, i] * write[:, i, :, None]
            return state, (state @ read[:, i, :, :, None])[..., 0]

        return advance

    return _scan(step, node, x, prepare, x, dt, write, read)


@kernel("delta_rule")
def delta_rule(step: Step, node: Node, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    share = v.shape[1] // q.shape[1]

    def prepare(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Callable[[int, Tensor], tuple[Tensor, Tensor]]:
        q, k = (each.repeat_interleave(share, 2)[..., None, :] for each in (q, k))  # [G, n, H, 1, Dk]
        decay, v, rate = torch.exp(g)[..., None, None], v[..., None, :], beta[..., None, None]

        def advance(i: int, state: Tensor) -> tuple[Tensor, Tensor]:  # [G, H, Dk, Dv]
            state = state * decay[:, i]
            missing = (v[:, i] - k[:, i] @ state) * rate[:, i]
            state = state + k[:, i].transpose(-1, -2) * missing
            return state, (q[:, i] @ state)[..., 0, :]

        return advance

    return _scan(step, node, v, prepare, q, k, v, g, beta)
