"""Reference kernels of routing. Shapes and meanings: heron/graph/ops_routing.py."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.backends.reference.step import AnyArray, Array, Step, given, kernel, weight
from heron.graph.graph import Node

Ints = NDArray[np.int32]


def _largest(x: Array, k: int) -> NDArray[np.intp]:
    return np.argsort(-x, axis=-1, kind="stable")[..., :k]


@kernel("topk")
def topk(step: Step, node: Node, x: Array) -> tuple[AnyArray, ...]:
    ids = _largest(x, node.attrs["k"])
    return np.take_along_axis(x, ids, axis=-1), ids.astype(np.int32)


@kernel("topk_mask")
def topk_mask(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    mask = np.zeros_like(x)
    np.put_along_axis(mask, _largest(x, node.attrs["k"]), np.float32(1), axis=-1)
    return (mask,)


@kernel("mask_fill")
def mask_fill(step: Step, node: Node, x: Array, mask: Array) -> tuple[Array, ...]:
    return (np.where(mask != 0, x, np.float32(node.attrs["value"])),)


@kernel("take")
def take(step: Step, node: Node, x: Array, ids: Ints) -> tuple[Array, ...]:
    return (np.take_along_axis(x, ids.astype(np.intp), axis=-1),)


@kernel("normalize")
def normalize(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x / np.maximum(x.sum(axis=-1, keepdims=True), np.float32(node.attrs["floor"])),)


@kernel("expert_linear")
def expert_linear(step: Step, node: Node, x: Array, ids: Ints) -> tuple[Array, ...]:
    matrices, bias = given(step, node, 0), weight(step, node, 1)
    y = np.zeros((*ids.shape, matrices.shape[1]), np.float32)
    for expert in range(len(matrices)):
        token, choice = np.nonzero(ids == expert + node.attrs["first"])
        if len(token):
            product = (x[token] if x.ndim == 2 else x[token, choice]) @ matrices[expert].T
            y[token, choice] = product if bias is None else product + bias[expert]
    return (y,)


@kernel("combine")
def combine(step: Step, node: Node, x: Array, weights: Array) -> tuple[Array, ...]:
    return (np.einsum("tkd,tk->td", x, weights),)


@kernel("expert_squares")
def expert_squares(step: Step, node: Node, x: Array, ids: Ints) -> tuple[Array, ...]:
    rows = np.broadcast_to(x[:, None], (*ids.shape, x.shape[-1])) if x.ndim == 2 else x
    total, count = np.zeros((node.attrs["experts"], x.shape[-1]), np.float32), np.zeros(node.attrs["experts"], np.float32)
    np.add.at(total, ids, np.square(rows))
    np.add.at(count, ids, 1)
    return total, count
