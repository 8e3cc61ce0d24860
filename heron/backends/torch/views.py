"""What each token of a step attends to, as rectangles: sequences with equally many tokens side by side, their keys padded.

Everything is made on the device from the batch's own small arrays, once a step for all layers that see alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.reference.attention import visible
from heron.backends.torch.step import Step
from heron.graph.graph import Group, State

Ints = NDArray[np.int64]

#: Pairs of a token and a key that are looked at in one rectangle: bounds what scores and padded keys take.
PAIRS = 1 << 22

#: As many of whole prompts, which need no mask: one of 4096 tokens is one rectangle, for torch's causal kernel.
WHOLE = 1 << 24

#: Contexts up to this many tokens are padded to each other's length, longer ones to at most twice their own.
SHORT = 256


@dataclass(frozen=True)
class View:
    """``tokens`` [G, n] of the step attend to ``keys`` [G, K]: entries of the state, or tokens of the step.

    ``seen`` [G, n, K] says to which; None where it is to all, or where ``staircase``: token i sees the keys 0 to i.
    ``at`` [G, n] and ``places`` [G, K] are their places in their sequences.
    """

    tokens: Tensor
    keys: Tensor
    at: Tensor
    places: Tensor
    seen: Tensor | None = None
    staircase: bool = False

    @cached_property
    def distance(self) -> Tensor:
        """[G, n, K] each key's place minus the token's."""
        return self.places[:, None, :] - self.at[:, :, None]


@dataclass(frozen=True)
class Part:
    """Sequences with equally many tokens in a step: [G] which ones, and [G, n] their tokens, on the host and on the device."""

    sequences: Ints
    tokens: Ints
    which: Tensor
    at: Tensor


def equally_long(step: Step) -> list[Part]:
    """The sequences that have tokens in this step by their number."""

    def make() -> Iterator[Part]:
        lengths, starts = step.batch.lengths(), step.batch.query_start
        for n in np.unique(lengths[lengths > 0]):
            sequences = np.flatnonzero(lengths == n).astype(np.int64)
            tokens = starts[sequences].astype(np.int64)[:, None] + np.arange(n)
            if len(sequences) == len(lengths):
                which, at = (torch.arange(each.size, device=step.device).view(each.shape) for each in (sequences, tokens))
            else:
                which, at = step.index(sequences), step.index(tokens)
            yield Part(sequences, tokens, which, at)

    return step.once("equally long", lambda: list(make()))


def views(step: Step, state: State | None, causal: bool, window: int) -> list[View]:
    """The rectangles that cover all tokens of the step, which read the state, or (without one) each other."""
    group = None if state is None else step.group(state)
    key = ("views", None if group is None else group.name, causal, window)
    make = _static if step.static else _views
    return step.once(key, lambda: list(make(step, group, causal, window)))


def _static(step: Step, group: Group | None, causal: bool, window: int) -> Iterator[View]:
    """One rectangle over the whole of the sequences' tables: only shapes are known on the host."""
    if group is None:
        step.needs_host("attention within a step")
        return
    (part,), inputs, size = equally_long(step), step.inputs, group.block_size
    table, start = inputs.table(group.name).long(), inputs.table_start(group.name).long()
    within = torch.arange(size, device=step.device)
    places = ((start[:, None] + torch.arange(table.shape[1], device=step.device))[..., None] * size + within).flatten(1)
    keys, at = (table[..., None] * size + within).flatten(1), inputs.places.long()[part.at]
    held = places < inputs["cross_len" if group.kind == "cross" else "context_len"][:, None]
    view = View(part.at, _safe(keys, held), at, places)
    seen = held[:, None, :].expand(-1, at.shape[1], -1)
    seen = seen & (view.distance <= 0) if causal else seen
    yield replace(view, seen=seen & (view.distance.abs() < window) if window else seen)


def _safe(keys: Tensor, held: Tensor) -> Tensor:
    """[G, K] the keys, and a sequence's first one again for those that it does not hold: in null blocks anything may lie, NaN too."""
    return torch.where(held, keys, keys[:, :1])


def _views(step: Step, group: Group | None, causal: bool, window: int) -> Iterator[View]:
    first, stop = _span(step, group, window)
    for part in equally_long(step):
        sequences, tokens = part.sequences, part.tokens
        spans, n = (stop - first)[sequences], tokens.shape[1]
        whole = causal and not window and not len(step.batch.parents) and bool((spans == n).all())
        for mine, cut in _tiles(spans, n, WHOLE if whole else PAIRS):
            chosen = sequences[mine]
            if stop[chosen].max() > first[chosen].min():
                yield _view(step, group, chosen, tokens[mine][:, cut], (first[chosen], stop[chosen]), causal, window)


def _span(step: Step, group: Group | None, window: int) -> tuple[Ints, Ints]:
    """[S] the first place of each sequence that any of its tokens may see, and the end of them."""
    batch = step.batch
    context, before = batch.context_len.astype(np.int64), (batch.context_len - batch.lengths()).astype(np.int64)
    if group is None:
        return before, context
    if group.kind == "cross":
        return np.zeros_like(context), batch.cross_len.astype(np.int64)
    return np.maximum(0, before - window + 1) if window else np.zeros_like(context), context


def _tiles(spans: Ints, n: int, pairs: int) -> Iterator[tuple[Ints, slice]]:
    """Rectangles of so many pairs: which of the sequences, and which of their n tokens."""
    order = np.argsort(spans, kind="stable")
    while len(order):
        widest = max(1, int(spans[order[-1]]))
        alike = int((spans[order] * 2 >= widest).sum()) if widest > SHORT else len(order)
        count = max(1, min(alike, pairs // (n * widest)))
        mine, order = order[-count:], order[:-count]
        step = n if count > 1 else max(1, pairs // widest)
        for start in range(0, n, step):
            yield mine, slice(start, min(n, start + step))


def _view(step: Step, group: Group | None, mine: Ints, tokens: Ints, span: tuple[Ints, Ints], causal: bool, window: int) -> View:
    batch, (first, stop) = step.batch, span
    n, spans = tokens.shape[1], stop - first
    longest, alone = int(spans.max()), batch.lengths()[mine[0]] == 1
    which, begin, end = step.index(np.stack([mine, first, stop]))[..., None].unbind()
    chosen = step.index(tokens)
    at = step.inputs.places.long()[chosen]
    places = begin + torch.arange(longest, device=step.device)
    held = places < end
    if group is None:
        keys = places - begin + step.inputs.query_start.long()[which]
    else:
        keys = _entries(step, group, which[:, 0], places)
    view = View(chosen, _safe(keys, held), at, places)
    if len(batch.parents):
        return replace(view, seen=_branches(step, group, mine, tokens, span, causal, window))
    if (spans == longest).all() and not (window and longest >= window and not alone):
        if alone or not (causal or window):  # one token sees all keys that its span holds
            return view
        if causal and n == longest:
            return replace(view, staircase=True)
    seen = held[:, None, :].expand(-1, n, -1)
    seen = seen & (view.distance <= 0) if causal else seen
    return replace(view, seen=seen & (view.distance.abs() < window) if window else seen)


def _entries(step: Step, group: Group, which: Tensor, places: Tensor) -> Tensor:
    """[G, K] where the states of a group hold these places of sequences ``which`` [G]."""
    table, start = step.inputs.table(group.name)[which].long(), step.inputs.table_start(group.name)[which]
    blocks = places // group.block_size - start[:, None]
    return table.gather(1, blocks.clamp(0, table.shape[1] - 1)) * group.block_size + places % group.block_size


def _branches(step: Step, group: Group | None, mine: Ints, tokens: Ints, span: tuple[Ints, Ints], causal: bool, window: int) -> Tensor:
    """[G, n, K] what drafts that branch may see, made on the host: such steps are short."""
    first, stop = span
    seen = np.zeros((*tokens.shape, int((stop - first).max())), np.bool_)
    for i, s in enumerate(mine.tolist()):
        whole = visible(step.batch, s, np.arange(first[i], stop[i], dtype=np.int32), causal, window)
        if group is not None and group.kind == "cross":
            whole = np.ones_like(whole)
        seen[i, :, : whole.shape[1]] = whole[tokens[i] - step.batch.query_start[s]]
    return torch.from_numpy(seen).to(step.device)
