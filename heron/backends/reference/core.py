"""Reference kernels of the plain ops. Shapes and meanings: heron/graph/ops_core.py."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from heron.backends.reference.step import Array, Step, given, kernel, weight
from heron.graph.dims import resolve_shape
from heron.graph.graph import Node

Ints = NDArray[np.int32]
_erf = np.vectorize(math.erf, otypes=[np.float32])


def sigmoid(x: Array) -> Array:
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * x)), np.float32)  # the form that cannot overflow


def gelu_tanh(x: Array) -> Array:
    return np.asarray(0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3))), np.float32)


#: Kind -> function; the kinds are listed in heron/graph/ops_core.py.
ACTIVATION: dict[str, Callable[[Array], Array]] = {
    "silu": lambda x: x * sigmoid(x),
    "gelu": gelu_tanh,
    "gelu_erf": lambda x: 0.5 * x * (1.0 + _erf(x / np.float32(math.sqrt(2.0)))),
    "quick_gelu": lambda x: x * sigmoid(np.float32(1.702) * x),
    "relu": lambda x: np.maximum(x, 0),
    "relu2": lambda x: np.maximum(x, 0) ** 2,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
    "softplus": lambda x: np.logaddexp(x, np.float32(0)),
    "exp": np.exp,
}


def softmax(x: Array) -> Array:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)


@kernel("embed")
def embed(step: Step, node: Node, ids: Ints) -> tuple[Array, ...]:
    return (given(step, node, 0)[ids],)


@kernel("insert_embeds")
def insert_embeds(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    if len(step.batch.embed_rows):
        x = x.copy()
        x[step.batch.embed_rows] = step.batch.embeds
    return (x,)


@kernel("linear")
def linear(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    bias = weight(step, node, 1)
    y = x @ given(step, node, 0).T
    return (y if bias is None else y + bias,)


@kernel("rms_norm")
def rms_norm(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    gain = weight(step, node, 0)
    y = x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + np.float32(node.attrs["eps"]))
    return (y if gain is None else y * gain,)


@kernel("layer_norm")
def layer_norm(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    gain, bias = weight(step, node, 0), weight(step, node, 1)
    centred = x - x.mean(axis=-1, keepdims=True)
    y = centred / np.sqrt(np.mean(np.square(centred), axis=-1, keepdims=True) + np.float32(node.attrs["eps"]))
    y = y if gain is None else y * gain
    return (y if bias is None else y + bias,)


@kernel("add")
def add(step: Step, node: Node, x: Array, y: Array) -> tuple[Array, ...]:
    return (x + y,)


@kernel("mul")
def mul(step: Step, node: Node, x: Array, y: Array) -> tuple[Array, ...]:
    return (x * y,)


@kernel("bias")
def bias(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x + given(step, node, 0),)


@kernel("gain")
def gain(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x * given(step, node, 0),)


@kernel("scale")
def scale(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x * np.float32(node.attrs["factor"]),)


@kernel("clamp")
def clamp(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (np.clip(x, np.float32(node.attrs["low"]), np.float32(node.attrs["high"])),)


@kernel("activation")
def activation(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (ACTIVATION[node.attrs["kind"]](x),)


@kernel("softmax")
def softmax_kernel(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (softmax(x),)


@kernel("reshape")
def reshape(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x.reshape(resolve_shape(node.attrs["shape"], step.batch.symbols)),)


@kernel("split")
def split(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return tuple(np.split(x, np.cumsum(node.attrs["sizes"])[:-1], axis=-1))


@kernel("concat")
def concat(step: Step, node: Node, *values: Array) -> tuple[Array, ...]:
    return (np.concatenate(values, axis=-1),)


@kernel("columns")
def columns(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (np.ascontiguousarray(x[..., given(step, node, 0).astype(np.intp)]),)


@kernel("sum")
def sum_(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x.sum(axis=-1, keepdims=True),)


@kernel("rows")
def rows(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    return (x[step.batch.rows],)


@kernel("pool")
def pool(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    starts = step.batch.query_start
    if node.attrs["kind"] == "cls":
        return (x[starts[:-1]],)
    if node.attrs["kind"] == "last":
        return (x[starts[1:] - 1],)
    return (np.stack([x[a:b].mean(axis=0) for a, b in itertools.pairwise(starts)]),)


@kernel("lora")
def lora(step: Step, node: Node, x: Array, y: Array) -> tuple[Array, ...]:
    chosen = np.asarray(step.batch.adapter)
    if not chosen.any():
        return (y,)
    y = y.copy()
    of_token = chosen[step.batch.sequence_of()] if len(x) == len(step.batch.tokens) else chosen[step.batch.sequence_of()][step.batch.rows]
    for id in np.unique(chosen[chosen > 0]):
        adapter = step.adapters[int(id)]
        pair = adapter.pairs.get(node.attrs["target"])
        if pair is not None:
            mine = of_token == id
            y[mine] += np.float32(adapter.scale) * (x[mine] @ pair[0].T @ pair[1].T)
    return (y,)


@kernel("all_reduce")
def all_reduce(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    assert step.communicator is not None
    return (step.communicator.all_reduce(x),)


@kernel("all_gather")
def all_gather(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    assert step.communicator is not None
    return (step.communicator.all_gather(x, node.attrs["axis"]),)


@kernel("squares")
def squares(step: Step, node: Node, x: Array) -> tuple[Array, ...]:
    rows = x.reshape(-1, x.shape[-1])
    return np.einsum("ti,ti->i", rows, rows), np.full(1, len(rows), np.float32)
