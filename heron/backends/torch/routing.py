"""Torch kernels of routing. Shapes and meanings: heron/graph/ops_routing.py."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from heron.backends.torch.planes import Planes
from heron.backends.torch.step import Step, kernel, matrix, weight
from heron.backends.torch.weights import TILE, Matrix, product
from heron.graph.graph import Node


def _largest(x: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest and their indices, the lower index first among equals, which torch.topk does not promise."""
    values, ids = x.sort(dim=-1, descending=True, stable=True)
    return values[..., :k], ids[..., :k]


@kernel("topk")
def topk(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return _largest(x, node.attrs["k"])


@kernel("topk_mask")
def topk_mask(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (torch.zeros_like(x).scatter_(-1, _largest(x, node.attrs["k"])[1], 1),)


@kernel("mask_fill")
def mask_fill(step: Step, node: Node, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
    return (torch.where(mask != 0, x, node.attrs["value"]),)


@kernel("take")
def take(step: Step, node: Node, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    return (x.gather(-1, ids),)


@kernel("normalize")
def normalize(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    wide = x.float()
    return ((wide / wide.sum(-1, keepdim=True).clamp(min=node.attrs["floor"])).to(x.dtype),)


@kernel("expert_linear")
def expert_linear(step: Step, node: Node, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    experts, bias = matrix(step, node), weight(step, node, 1)
    count, k = len(experts.data), ids.shape[1]
    local = (ids - node.attrs["first"]).flatten()
    here = (local >= 0) & (local < count)
    chosen = local.clamp(0, count - 1)
    rows = (x[:, None].expand(-1, k, -1) if x.ndim == 2 else x).flatten(0, 1)  # [T k, in]
    if len(rows) <= count and not torch.is_grad_enabled():  # a gradient would keep the copies of experts
        y = _few(rows, chosen, experts)
    else:
        step.needs_host("how many rows each expert has")
        y = _many(rows, chosen, experts)
    if bias is not None:
        y = (y + bias[chosen]).to(x.dtype)
    return (torch.where(here[:, None], y, 0).unflatten(0, ids.shape),)


def _few(rows: Tensor, ids: Tensor, experts: Matrix) -> Tensor:
    """Each row by a copy of its expert: nothing is asked of the device."""
    step = max(1, TILE // (experts.rows * experts.width))
    pairs = zip(rows.split(step), ids.split(step), strict=True)
    return torch.cat([(experts.take(which, rows.dtype) @ part[..., None])[..., 0] for part, which in pairs])


def _many(rows: Tensor, ids: Tensor, experts: Matrix) -> Tensor:
    """Rows gathered by expert. How many each has is read back: one wait for the device."""
    order = ids.argsort()
    counts = functional.one_hot(ids, len(experts.data)).sum(0).tolist()
    stacked: Sequence[Tensor | Planes] = experts.data.unbind()
    pairs = zip(rows[order].split(counts), stacked, strict=True)
    y = torch.cat([product(part, Matrix(data, experts.format)) for part, data in pairs if len(part)])
    return torch.empty_like(y).index_copy_(0, order, y)


@kernel("combine")
def combine(step: Step, node: Node, x: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    return ((weights[:, None] @ x)[:, 0],)


@kernel("expert_squares")
def expert_squares(step: Step, node: Node, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    rows = (x[:, None].expand(-1, ids.shape[1], -1) if x.ndim == 2 else x).flatten(0, 1).float()
    total = torch.zeros(node.attrs["experts"], x.shape[-1], device=x.device).index_add_(0, ids.flatten(), rows.square())
    count = torch.zeros(node.attrs["experts"], device=x.device).index_add_(0, ids.flatten(), torch.ones_like(rows[:, 0]))
    return total, count
