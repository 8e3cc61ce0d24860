"""Reference kernels of recurrent mixers. Shapes and meanings: heron/graph/ops_recurrent.py.

A sequence resumes from its ``slot_read`` (0: from nothing) and its state is saved in each ``slot_write`` after as
many of its tokens as ``slot_offset`` says: a snapshot serves a shared prefix, or the taking back of drafts. A node without
a state begins from zeros always.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from heron.backends.batch import Batch
from heron.backends.reference.attention import refuse_trees
from heron.backends.reference.step import Array, Step, given, kernel, weight
from heron.graph.graph import Node


def _scan(step: Step, node: Node, field: str, shape: tuple[int, ...], advance: Callable[[int, Array], Array]) -> None:
    """Run ``advance(token, state) -> state`` over every sequence's tokens, loading and saving the state's slots."""
    batch = step.batch
    refuse_trees(batch, node.op)
    store = step.field(node.writes[0], field) if node.writes else None
    begin = np.zeros(shape, np.float32)
    saved: list[tuple[int, Array]] = []
    for s in range(batch.sequences):
        slot = int(batch.slot_read[s])
        state = store.read(np.array([slot]))[0] if store and slot else begin
        saved += [(slot, state) for slot in _due(batch, s, 0)]
        for count, token in enumerate(range(batch.query_start[s], batch.query_start[s + 1]), start=1):
            state = advance(token, state)
            saved += [(slot, state) for slot in _due(batch, s, count)]
    if store:
        for slot, snapshot in saved:  # after all reads: one sequence may write the slot that another reads
            store.write(np.array([slot]), snapshot[None])


def _due(batch: Batch, sequence: int, count: int) -> list[int]:
    """The slots that receive a sequence's state after ``count`` of its tokens of this step."""
    if not len(batch.slot_write):
        return []
    slots = batch.slot_write[sequence]
    return slots[(batch.slot_offset[sequence] == count) & (slots > 0)].tolist()


@kernel("causal_conv")
def causal_conv(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    taps, bias = given(step, node, 0), weight(step, node, 1)  # [C, K]
    y = np.empty_like(x)

    def advance(token: int, window: Array) -> Array:
        full = np.concatenate([window, x[token][None]])  # [K, C]
        y[token] = np.einsum("kc,ck->c", full, taps)
        return full[1:]

    _scan(step, node, "window", (taps.shape[1] - 1, len(taps)), advance)
    return (y if bias is None else y + bias,)


@kernel("selective_scan")
def selective_scan(step: Step, node: Node, x: Array, dt: Array, write: Array, read: Array) -> tuple[Array, ...]:
    rate = given(step, node, 0)  # [H, N] or [H, 1]
    share = x.shape[1] // write.shape[1]
    write, read = np.repeat(write, share, axis=1), np.repeat(read, share, axis=1)
    y = np.empty_like(x)

    def advance(token: int, state: Array) -> Array:  # [H, P, N]
        decay = np.exp(dt[token][:, None] * rate)
        state = decay[:, None] * state + np.einsum("hp,hn->hpn", dt[token][:, None] * x[token], write[token])
        y[token] = np.einsum("hpn,hn->hp", state, read[token])
        return state

    _scan(step, node, "matrix", (*x.shape[1:], write.shape[2]), advance)
    return (y,)


@kernel("delta_rule")
def delta_rule(step: Step, node: Node, q: Array, k: Array, v: Array, g: Array, beta: Array) -> tuple[Array, ...]:
    share = v.shape[1] // q.shape[1]
    q, k = np.repeat(q, share, axis=1), np.repeat(k, share, axis=1)
    decay = np.exp(g)
    y = np.empty_like(v)

    def advance(token: int, state: Array) -> Array:  # [H, Dk, Dv]
        state = state * decay[token][:, None, None]
        missing = v[token] - np.einsum("hk,hkv->hv", k[token], state)
        state = state + np.einsum("hk,hv->hkv", k[token], missing * beta[token][:, None])
        y[token] = np.einsum("hk,hkv->hv", q[token], state)
        return state

    _scan(step, node, "matrix", (*k.shape[1:], v.shape[2]), advance)
    return (y,)
