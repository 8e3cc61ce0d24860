"""Torch kernels of recurrent mixers, in f32. Shapes and meanings: heron/graph/ops_recurrent.py.

Sequences with equally many tokens advance side by side, token by token. A sequence resumes from its ``slot_read`` (0: from
nothing) and its state is saved in each ``slot_write`` after as many of its tokens as ``slot_offset`` says.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from heron.backends.reference.attention import refuse_trees
from heron.backends.torch.step import Step, given, kernel, weight
from heron.backends.torch.views import Part, equally_long
from heron.graph.graph import Node

#: After how many tokens -> which of the sequences (None: all) are saved, and in which slots.
Due = dict[int, list[tuple[Tensor | None, Tensor]]]


class Slots:
    """A field's slots in a step. Writes wait for ``finish``: one sequence may write the slot that another reads."""

    def __init__(self, step: Step, node: Node, field: str) -> None:
        refuse_trees(step.batch, node.op)
        self._step, self._store = step, step.field(node.writes[0], field)
        self._saved: list[tuple[Tensor, Tensor]] = []

    def begin(self, part: Part) -> Tensor:
        """[G, *shape] what the sequences resume from."""
        slots = self._step.inputs.slot_read[part.which]
        states = self._store.read(slots, torch.float32)
        return torch.where((slots > 0).reshape(-1, *(1,) * len(self._store.shape)), states, 0)

    def due(self, part: Part) -> Due:
        """After how many tokens the sequences are saved."""
        batch, inputs = self._step.batch, self._step.inputs
        found: Due = {}
        if not batch.slot_write.size:
            return found
        slots, offsets = batch.slot_write[part.sequences], batch.slot_offset[part.sequences]
        if (offsets == offsets[0]).all():  # a null slot among them may be written to
            columns = inputs.slot_write[part.which].long().unbind(1)
            for offset, column in zip(offsets[0].tolist(), columns, strict=True):
                found.setdefault(offset, []).append((None, column))
        else:
            for offset in np.unique(offsets[slots > 0]).tolist():
                at = np.nonzero((slots > 0) & (offsets == offset))
                found[offset] = [(self._step.index(at[0]), self._step.index(slots[at]))]
        return found

    def save(self, due: Due, offset: int, states: Tensor) -> None:
        """Save the states after so many tokens, where that is due."""
        for rows, slots in due.get(offset, ()):
            self._saved.append((slots, states if rows is None else states[rows]))

    def finish(self) -> None:
        for slots, states in self._saved:
            self._store.write(slots, states)


@kernel("causal_conv")
def causal_conv(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    taps, bias, slots = given(step, node, 0), weight(step, node, 1), Slots(step, node, "window")  # [C, K]
    y, before = torch.zeros_like(x), taps.shape[1] - 1
    for part in equally_long(step):
        at, n, due = part.at, part.tokens.shape[1], slots.due(part)
        full = torch.cat([slots.begin(part), x[at].float()], 1)  # [G, K-1+n, C]
        mixed = sum((full[:, k : k + n] * taps[:, k] for k in range(1, before + 1)), full[:, :n] * taps[:, 0])
        y[at] = (mixed if bias is None else mixed + bias).to(x.dtype)
        for offset in due:
            slots.save(due, offset, full[:, offset : offset + before])
    slots.finish()
    return (y,)


#: Inputs [G, n, ...] -> what happens at each token: ``advance(i, state) -> state, output``.
Prepare = Callable[..., Callable[[int, Tensor], tuple[Tensor, Tensor]]]


def _scan(step: Step, node: Node, out: Tensor, prepare: Prepare, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Every token's output in ``out``, in the order of the sequences, with states loaded and saved."""
    slots, y = Slots(step, node, "matrix"), torch.empty_like(out)
    for part in equally_long(step):
        at, state, due = part.at, slots.begin(part), slots.due(part)
        advance = prepare(*(x[at].float() for x in inputs))
        outputs = []
        slots.save(due, 0, state)
        for i in range(at.shape[1]):
            state, output = advance(i, state)
            outputs.append(output)
            slots.save(due, i + 1, state)
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
