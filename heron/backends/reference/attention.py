"""Reference kernels of attention. Shapes and meanings: heron/graph/ops_attention.py.

Keys and values are read as they are stored, those of this step included: an answer does not depend on how the
tokens were divided into steps.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from heron.backends.batch import Batch
from heron.backends.reference.core import softmax
from heron.backends.reference.step import Array, Step, given, kernel, weight
from heron.errors import UnsupportedError
from heron.graph.graph import Node

Ints = NDArray[np.int32]
Bools = NDArray[np.bool_]


@kernel("rope")
def rope(step: Step, node: Node, x: Array, positions: Ints) -> tuple[Array, ...]:
    frequencies = given(step, node, 0)
    n = len(frequencies)
    sections = node.attrs.get("sections", ())
    axis = np.repeat(np.arange(len(sections)), sections) if sections else np.zeros(n, np.intp)
    angle = positions[axis].T.astype(np.float32) * frequencies  # [T, n]
    cos, sin = (np.float32(node.attrs["scale"]) * f(angle)[:, None, :] for f in (np.cos, np.sin))
    y = x.copy()
    first, second = (slice(0, 2 * n, 2), slice(1, 2 * n, 2)) if node.attrs["pairing"] == "adjacent" else (slice(0, n), slice(n, 2 * n))
    y[..., first] = x[..., first] * cos - x[..., second] * sin
    y[..., second] = x[..., first] * sin + x[..., second] * cos
    return (y,)


@kernel("kv_write")
def kv_write(step: Step, node: Node, key: Array, value: Array) -> tuple[Array, ...]:
    _write(step, node, key=key, value=value)
    return ()


@kernel("latent_write")
def latent_write(step: Step, node: Node, latent: Array, rope_key: Array) -> tuple[Array, ...]:
    _write(step, node, latent=latent, rope=rope_key)
    return ()


def _write(step: Step, node: Node, **values: Array) -> None:
    state, batch = node.writes[0], step.batch
    places, starts = batch.places(), batch.query_start
    for s in range(batch.sequences):
        mine = slice(starts[s], starts[s + 1])
        at = step.at(state, s, places[mine])
        for name, array in values.items():
            step.field(state, name).write(at, array[mine])


def visible(batch: Batch, s: int, keys: Ints, causal: bool, window: int) -> Bools:
    """[Q, K] which places ``keys`` each token of sequence ``s`` in this step may see."""
    mine = slice(batch.query_start[s], batch.query_start[s + 1])
    places = batch.places()[mine]
    if len(batch.parents):
        return _tree(batch, s, keys, window)
    distance = places[:, None] - keys[None, :]
    seen = distance >= 0 if causal else np.ones(distance.shape, np.bool_)
    if window:
        seen &= np.abs(distance) < window
    return seen


def _tree(batch: Batch, s: int, keys: Ints, window: int) -> Bools:
    """As ``visible``, for drafts that branch: a token sees the context and its own ancestors; its depth is its distance."""
    begin, end = batch.query_start[s], batch.query_start[s + 1]
    before = int(batch.context_len[s]) - (end - begin)
    seen = np.zeros((end - begin, len(keys)), np.bool_)
    for i in range(begin, end):
        path, node = [], i
        while node >= 0:
            path.append(before + node - begin)
            node = int(batch.parents[node])
        depth = before + len(path) - 1
        seen[i - begin] = np.isin(keys, path) | (keys < before)
        if window:
            seen[i - begin] &= np.isin(keys, path[:window]) | ((keys < before) & (depth - keys < window))
    return seen


def relative_buckets(distance: Ints, buckets: int, max_distance: int, bidirectional: bool) -> Ints:
    """T5's bucket of each key place minus query place (Raffel et al. 2020): exact when near, logarithmic when far."""
    base = np.zeros_like(distance)
    if bidirectional:
        buckets //= 2
        base = (distance > 0).astype(np.int32) * buckets
        distance = np.abs(distance)
    else:
        distance = -np.minimum(distance, 0)
    exact = buckets // 2
    ratio = np.log(np.maximum(distance, 1).astype(np.float32) / exact) / math.log(max_distance / exact)
    far = np.minimum(exact + (ratio * (buckets - exact)).astype(np.int32), buckets - 1)
    return base + np.where(distance < exact, distance, far).astype(np.int32)


def _softmax_values(scores: Array, seen: Bools, values: Array, sinks: Array | None) -> Array:
    """scores [H, Q, K], values [H, K, Dv] -> [Q, H, Dv]."""
    scores = np.where(seen, scores, np.float32(-np.inf))
    if sinks is not None:
        column = np.broadcast_to(sinks[:, None, None], (*scores.shape[:2], 1))
        return np.einsum("hqk,hkd->qhd", softmax(np.concatenate([scores, column], axis=-1))[..., :-1], values)
    return np.einsum("hqk,hkd->qhd", softmax(scores), values)


def _attend(node: Node, q: Array, k: Array, v: Array, seen: Bools, distance: Ints, score_weights: list[Array | None]) -> Array:
    """q [Q, H, Dk], k [K, Hkv, Dk], v [K, Hkv, Dv] of one sequence -> [Q, H, Dv]."""
    attrs, share = node.attrs, q.shape[1] // k.shape[1]
    sinks, bias, slopes = score_weights
    k, v = (np.repeat(x.transpose(1, 0, 2), share, axis=0) for x in (k, v))
    scores = np.einsum("qhd,hkd->hqk", q, k) * np.float32(attrs["scale"])
    if cap := attrs.get("softcap", 0.0):
        scores = np.float32(cap) * np.tanh(scores / np.float32(cap))
    if bias is not None:
        buckets = relative_buckets(distance, len(bias), attrs["max_distance"], attrs["bidirectional"])
        scores = scores + bias[buckets].transpose(2, 0, 1)
    if slopes is not None:
        scores = scores - slopes[:, None, None] * np.abs(distance).astype(np.float32)
    return _softmax_values(scores, seen, v, sinks)


@kernel("attend")
def attend(step: Step, node: Node, q: Array, k: Array | None = None, v: Array | None = None) -> tuple[Array, ...]:
    batch, attrs = step.batch, node.attrs
    score_weights = [weight(step, node, i) for i in range(3)]
    if score_weights[1] is not None or score_weights[2] is not None:
        refuse_trees(batch, "attention by distance")
    parts = []
    for s in range(batch.sequences):
        mine = slice(batch.query_start[s], batch.query_start[s + 1])
        if k is not None and v is not None:
            keys, key, value = batch.places()[mine], k[mine], v[mine]
        else:
            keys = _stored(step, node, s)
            at = step.at(node.reads[0], s, keys)
            key, value = (step.field(node.reads[0], name).read(at) for name in ("key", "value"))
        seen = visible(batch, s, keys, attrs["causal"], attrs.get("window", 0))
        distance = keys[None, :] - batch.places()[mine][:, None]
        parts.append(_attend(node, q[mine], key, value, seen, distance, score_weights))
    return (np.concatenate(parts) if parts else np.zeros((0, q.shape[1], attrs.get("value_dim", 0)), np.float32),)


def _stored(step: Step, node: Node, s: int) -> Ints:
    """The places of sequence ``s`` that its tokens of this step may need."""
    batch, group = step.batch, step.group(node.reads[0])
    if group.kind == "cross":
        return np.arange(batch.cross_len[s], dtype=np.int32)
    window = node.attrs.get("window", 0)
    first = max(0, int(batch.context_len[s] - batch.lengths()[s]) - window + 1) if window else 0
    return np.arange(first, batch.context_len[s], dtype=np.int32)


@kernel("latent_attend")
def latent_attend(step: Step, node: Node, q_nope: Array, q_rope: Array, *own: Array) -> tuple[Array, ...]:
    key_up, value_up = given(step, node, 0), given(step, node, 1)  # [H, rank, Dn], [H, Dv, rank]
    batch, scale = step.batch, np.float32(node.attrs["scale"])
    parts = []
    for s in range(batch.sequences):
        mine = slice(batch.query_start[s], batch.query_start[s + 1])
        if own:
            places, (latent, rope_key) = batch.places()[mine], (x[mine] for x in own)
        else:
            places = np.arange(batch.context_len[s], dtype=np.int32)
            at = step.at(node.reads[0], s, places)
            latent, rope_key = (step.field(node.reads[0], name).read(at) for name in ("latent", "rope"))  # [K, rank], [K, Dr]
        seen = visible(batch, s, places, causal=True, window=0)
        form = node.attrs["form"]
        if form == "auto":  # expanding pays where many queries share the keys that it makes
            form = "expanded" if seen.shape[0] * 2 > seen.shape[1] else "absorbed"
        scores = np.einsum("qhd,kd->hqk", q_rope[mine], rope_key)
        if form == "absorbed":
            query = np.einsum("qhd,hrd->qhr", q_nope[mine], key_up)
            scores = (scores + np.einsum("qhr,kr->hqk", query, latent)) * scale
            mixed = _softmax_values(scores, seen, np.broadcast_to(latent, (len(key_up), *latent.shape)), None)
            parts.append(np.einsum("qhr,hdr->qhd", mixed, value_up))
        else:
            scores = (scores + np.einsum("qhd,hkd->hqk", q_nope[mine], np.einsum("kr,hrd->hkd", latent, key_up))) * scale
            parts.append(_softmax_values(scores, seen, np.einsum("kr,hdr->hkd", latent, value_up), None))
    return (np.concatenate(parts).astype(np.float32),)


def refuse_trees(batch: Batch, what: str) -> None:
    """Ops whose state is a recurrence cannot branch within a step."""
    if len(batch.parents):
        raise UnsupportedError(f"{what} cannot follow a tree of drafts; draft a single line of tokens for this model")
