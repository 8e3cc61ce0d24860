"""Torch kernels of the plain ops. Shapes and meanings: heron/graph/ops_core.py. Norms and softmax are computed in f32."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from heron.backends.torch.step import Step, given, kernel, matrix, weight
from heron.backends.torch.weights import product
from heron.graph.dims import resolve_shape
from heron.graph.graph import Node

#: Kind -> function; the kinds are listed in heron/graph/ops_core.py.
ACTIVATION: dict[str, Callable[[Tensor], Tensor]] = {
    "silu": functional.silu,
    "gelu": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu_erf": functional.gelu,
    "quick_gelu": lambda x: x * torch.sigmoid(1.702 * x),
    "relu": torch.relu,
    "relu2": lambda x: torch.relu(x).square(),
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": lambda x: torch.logaddexp(x, torch.zeros((), dtype=x.dtype, device=x.device)),
    "exp": torch.exp,
}


@kernel("embed")
def embed(step: Step, node: Node, ids: Tensor) -> tuple[Tensor, ...]:
    return (matrix(step, node).take(ids, step.dtype),)


@kernel("insert_embeds")
def insert_embeds(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    batch = step.batch
    if not len(batch.embed_rows):
        return (x,)
    embeds = torch.from_numpy(np.array(batch.embeds, np.float32)).to(step.device, x.dtype)
    return (x.index_copy(0, step.index(batch.embed_rows), embeds),)


@kernel("linear")
def linear(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    bias = weight(step, node, 1)
    y = product(x, matrix(step, node))
    return (y if bias is None else (y + bias).to(y.dtype),)


@kernel("rms_norm")
def rms_norm(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    gain, wide = weight(step, node, 0), x.float()
    y = wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + node.attrs["eps"])
    return ((y if gain is None else y * gain).to(x.dtype),)


@kernel("layer_norm")
def layer_norm(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    gain, bias = weight(step, node, 0), weight(step, node, 1)
    y = functional.layer_norm(x.float(), x.shape[-1:], eps=node.attrs["eps"])
    y = y if gain is None else y * gain
    return ((y if bias is None else y + bias).to(x.dtype),)


@kernel("add")
def add(step: Step, node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (x + y,)


@kernel("mul")
def mul(step: Step, node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return (x * y,)


@kernel("bias")
def bias(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return ((x + given(step, node, 0)).to(x.dtype),)


@kernel("gain")
def gain(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return ((x * given(step, node, 0)).to(x.dtype),)


@kernel("scale")
def scale(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x * node.attrs["factor"],)


@kernel("clamp")
def clamp(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.clamp(node.attrs["low"], node.attrs["high"]),)


@kernel("activation")
def activation(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (ACTIVATION[node.attrs["kind"]](x),)


@kernel("softmax")
def softmax(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.float().softmax(-1).to(x.dtype),)


@kernel("reshape")
def reshape(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.reshape(resolve_shape(node.attrs["shape"], step.batch.symbols)),)


@kernel("split")
def split(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return x.split(list(node.attrs["sizes"]), dim=-1)


@kernel("concat")
def concat(step: Step, node: Node, *values: Tensor) -> tuple[Tensor, ...]:
    return (torch.cat(values, -1),)


@kernel("columns")
def columns(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.index_select(-1, given(step, node, 0).long()),)


@kernel("sum")
def sum_(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x.sum(-1, keepdim=True),)


@kernel("rows")
def rows(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (x[step.inputs.rows],)


@kernel("pool")
def pool(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    batch, starts = step.batch, step.batch.query_start
    if node.attrs["kind"] != "mean":
        return (x[step.index(starts[:-1] if node.attrs["kind"] == "cls" else starts[1:] - 1)],)
    total = torch.zeros(batch.sequences, x.shape[-1], device=x.device).index_add_(0, step.index(batch.sequence_of()), x.float())
    return ((total / step.index(batch.lengths())[:, None]).to(x.dtype),)


@kernel("lora")
def lora(step: Step, node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    batch, chosen = step.batch, np.asarray(step.batch.adapter)
    for id in np.unique(chosen[chosen > 0]).tolist():
        pair = step.adapters[id].pairs.get(node.attrs["target"])
        if pair is None:
            continue

        def mine(id: int = id, tokens: bool = len(x) == len(batch.tokens)) -> Tensor:
            of_token = chosen[batch.sequence_of()]
            return step.index(np.flatnonzero((of_token if tokens else of_token[batch.rows]) == id))

        at = step.once(("lora", id, len(x) == len(batch.tokens)), mine)
        down, up = (part.to(x.dtype) for part in pair)
        y = y.index_add(0, at, functional.linear(functional.linear(x[at], down), up))
    return (y,)


def _to_host(x: Tensor) -> np.ndarray:
    array: np.ndarray = x.float().cpu().numpy()
    return array


@kernel("all_reduce")
def all_reduce(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    assert step.communicator is not None
    step.needs_host("other ranks")
    return (torch.from_numpy(step.communicator.all_reduce(_to_host(x))).to(step.device, x.dtype),)


@kernel("all_gather")
def all_gather(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    assert step.communicator is not None
    step.needs_host("other ranks")
    return (torch.from_numpy(step.communicator.all_gather(_to_host(x), node.attrs["axis"])).to(step.device, x.dtype),)


@kernel("squares")
def squares(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    rows = x.float().reshape(-1, x.shape[-1])
    return rows.square().sum(0), torch.full((1,), len(rows), dtype=torch.float32, device=x.device)
