"""Torch kernels of recurrent mixers, in f32. Shapes and meanings: heron/graph/ops_recurrent.py.

Sequences with equally many tokens advance side by side, by chunks whose tokens are computed together. A sequence resumes from its
``slot_read`` (0: from nothing) and its state is saved in each ``slot_write`` after as many of its tokens as ``slot_offset`` says.
Nodes without a state begin from nothing and save nothing; nothing is written in place that a gradient needs.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from heron.backends.reference.attention import refuse_trees
from heron.backends.torch.step import Step, given, kernel, weight
from heron.backends.torch.views import Part, equally_long
from heron.graph.graph import Node

#: Tokens that a recurrence advances by at a time.
CHUNK = 64

#: Numbers of states that are held at a time, where each token's own state is computed.
STATES = 1 << 24

#: After how many tokens -> which of the sequences (None: all) are saved, and in which slots.
Due = dict[int, list[tuple[Tensor | None, Tensor]]]


class Slots:
    """A field's slots in a step, where a node has any. Writes wait for ``finish``: one sequence may write the slot that another reads."""

    def __init__(self, step: Step, node: Node, field: str, shape: tuple[int, ...]) -> None:
        refuse_trees(step.batch, node.op)
        self._step, self._shape = step, shape
        self._store = step.field(node.writes[0], field) if node.writes else None
        self._saved: list[tuple[Tensor, Tensor]] = []

    def begin(self, part: Part) -> Tensor:
        """[G, *shape] what the sequences resume from."""
        if self._store is None:
            return torch.zeros(len(part.sequences), *self._shape, device=self._step.device)
        slots = self._step.inputs.slot_read[part.which]
        states = self._store.read(slots, torch.float32)
        return torch.where((slots > 0).reshape(-1, *(1,) * len(self._shape)), states, 0)

    def due(self, part: Part) -> Due:
        """After how many tokens the sequences are saved."""
        batch, inputs = self._step.batch, self._step.inputs
        found: Due = {}
        if self._store is None or not batch.slot_write.size:
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
            assert self._store is not None
            self._store.write(slots, states)


@kernel("causal_conv")
def causal_conv(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    taps, bias = given(step, node, 0), weight(step, node, 1)  # [C, K]
    y, before = torch.zeros_like(x), taps.shape[1] - 1
    slots = Slots(step, node, "window", (before, len(taps)))
    for part in equally_long(step):
        at, n, due = part.at, part.tokens.shape[1], slots.due(part)
        full = torch.cat([slots.begin(part), x[at].float()], 1)  # [G, K-1+n, C]
        mixed = sum((full[:, k : k + n] * taps[:, k] for k in range(1, before + 1)), full[:, :n] * taps[:, 0])
        y[at] = (mixed if bias is None else mixed + bias).to(x.dtype)
        for offset in due:
            slots.save(due, offset, full[:, offset : offset + before])
    slots.finish()
    return (y,)


#: ``advance(states, *inputs [G, L, ...]) -> states after the last of these tokens, outputs [G, L, ...]``
Advance = Callable[..., tuple[Tensor, Tensor]]


def _scan(step: Step, node: Node, shape: tuple[int, ...], out: Tensor, advance: Advance, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Every token's output, like ``out``, with states of this shape loaded and saved."""
    slots, y = Slots(step, node, "matrix", shape), torch.empty_like(out)
    for part in equally_long(step):
        state, due = slots.begin(part), slots.due(part)
        given_here, outputs = [x[part.at].float() for x in inputs], []
        slots.save(due, 0, state)
        for begin, end in pairwise(_cuts(part.at.shape[1], due)):
            state, output = advance(state, *(x[:, begin:end] for x in given_here))
            outputs.append(output)
            slots.save(due, end, state)
        y[part.at] = torch.cat(outputs, 1).to(y.dtype)
    slots.finish()
    return (y,)


def _cuts(n: int, due: Due) -> list[int]:
    """Where n tokens are divided: into chunks, and where a state is saved."""
    return sorted({*range(0, n, CHUNK), n, *(offset for offset in due if offset <= n)})


def _decays(logs: Tensor) -> Tensor:
    """The logarithms of each token's decay [G, L, H] -> [G, H, L, L] what is left at token i of what token j stored; 0 where j > i.

    Sums of logarithms between two tokens are added up from the earlier one, since differences of long sums would be coarse.
    """
    each = logs.transpose(1, 2)[..., None].expand(-1, -1, -1, logs.shape[1])
    return each.tril(-1).cumsum(-2).exp().tril()


@kernel("selective_scan")
def selective_scan(step: Step, node: Node, x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, ...]:
    rate, share = given(step, node, 0), x.shape[1] // write.shape[1]  # [H, N] or [H, 1]

    def advance(state: Tensor, x: Tensor, dt: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
        taken = dt[..., None] * x  # [G, L, H, P]
        if rate.shape[1] > 1 or x.shape[1] == 1:
            write, read = (each.repeat_interleave(share, 2) for each in (write, read))
            spans = (state, torch.exp(dt[..., None] * rate)[..., None, :], taken, write, read)
            if torch.is_grad_enabled():  # computed once more for the gradient, which would keep the states of all spans
                return cast("tuple[Tensor, Tensor]", checkpoint(_by_doubling, *spans, use_reentrant=False, preserve_rng_state=False))
            return _by_doubling(*spans)
        return _by_matrices(state, dt * rate[:, 0], taken.transpose(1, 2), write.transpose(1, 2), read.transpose(1, 2))

    return _scan(step, node, (*x.shape[1:], write.shape[-1]), x, advance, x, dt, write, read)


def _by_doubling(state: Tensor, decay: Tensor, taken: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """decay [G, L, H, 1, N or 1], taken [G, L, H, P], write and read [G, L, H, N]: states over spans of one token, of two, of four, ..."""
    length = taken.shape[1]
    if length > 1 and taken.numel() * write.shape[-1] > STATES:
        first, second = zip(*(each.split([length // 2, length - length // 2], 1) for each in (decay, taken, write, read)), strict=True)
        state, before = _by_doubling(state, *first)
        state, after = _by_doubling(state, *second)
        return state, torch.cat([before, after], 1)
    states = taken[..., None] * write[..., None, :]  # [G, L, H, P, N]
    states = torch.cat([states[:, :1] + decay[:, :1] * state[:, None], states[:, 1:]], 1)
    span = 1
    while span < length:
        states = torch.cat([states[:, :span], states[:, span:] + decay[:, span:] * states[:, :-span]], 1)
        decay = torch.cat([decay[:, :span], decay[:, span:] * decay[:, :-span]], 1)
        span *= 2
    return states[:, -1], (states @ read[..., None])[..., 0]


def _by_matrices(state: Tensor, logs: Tensor, taken: Tensor, write: Tensor, read: Tensor) -> tuple[Tensor, Tensor]:
    """logs [G, L, H] of the decays, taken [G, H, L, P], write and read [G, groups, L, N]. Dao and Gu 2024, part 6."""
    share = taken.shape[1] // write.shape[1]
    decays, whole = _decays(logs), logs.cumsum(1).exp().transpose(1, 2)[..., None]  # [G, H, L, L], [G, H, L, 1]
    mixed = (read @ write.transpose(-1, -2)).repeat_interleave(share, 1) * decays
    write, read = (each.repeat_interleave(share, 1) for each in (write, read))
    y = mixed @ taken + whole * (read @ state.transpose(-1, -2))
    left = decays[:, :, -1, :, None] * taken
    return whole[:, :, -1:] * state + left.transpose(-1, -2) @ write, y.transpose(1, 2)


@kernel("delta_rule")
def delta_rule(step: Step, node: Node, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, ...]:
    share = v.shape[1] // q.shape[1]

    def advance(state: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
        q, k = (each.repeat_interleave(share, 2).transpose(1, 2) for each in (q, k))  # [G, H, L, Dk]
        return (_delta if v.shape[1] == 1 else _deltas)(state, q, k, v.transpose(1, 2), g, beta.transpose(1, 2)[..., None])

    return _scan(step, node, (v.shape[1], k.shape[-1], v.shape[-1]), v, advance, q, k, v, g, beta)


def _delta(state: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """One token. q, k [G, H, 1, Dk], v [G, H, 1, Dv], g [G, 1, H], beta [G, H, 1, 1]."""
    state = state * torch.exp(g)[:, 0, :, None, None]
    state = state + k.transpose(-1, -2) * (beta * (v - k @ state))
    return state, (q @ state).transpose(1, 2)


def _deltas(state: Tensor, q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> tuple[Tensor, Tensor]:
    """As ``_delta``, of L tokens: what each adds depends on what those before it added, a triangular system. Yang et al. 2024."""
    decays, whole = _decays(g), g.cumsum(1).exp().transpose(1, 2)[..., None]  # [G, H, L, L], [G, H, L, 1]
    alike = (k @ k.transpose(-1, -2) * decays * beta).tril(-1)
    missing = beta * (v - whole * (k @ state))
    added = torch.linalg.solve_triangular(alike, missing, upper=False, unitriangular=True)  # [G, H, L, Dv]; its diagonal is taken as ones
    y = (q @ k.transpose(-1, -2) * decays) @ added + whole * (q @ state)
    left = decays[:, :, -1, :, None] * k
    return whole[:, :, -1:] * state + left.transpose(-1, -2) @ added, y.transpose(1, 2)
