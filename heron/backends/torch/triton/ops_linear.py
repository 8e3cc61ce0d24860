"""Triton's kernels of ops that multiply by quantized weights or take rows of them. Meanings: heron/graph/ops_core.py, ops_fused.py."""

from __future__ import annotations

import torch
from torch import Tensor

from heron.backends.torch.planes import Planes
from heron.backends.torch.step import Step, matrix, triton_kernel, weight
from heron.backends.torch.triton.decode import decode
from heron.backends.torch.triton.experts import expert_linear
from heron.backends.torch.triton.glu import glu
from heron.backends.torch.triton.linear import gated_linear, linear
from heron.backends.torch.triton.tiles import TILES
from heron.backends.torch.weights import matrices_together
from heron.graph.graph import Node


def _format(node: Node, i: int = 0) -> str:
    found = node.weights[i]
    assert found is not None, f"{node} lacks matrix {i}"
    return found.tensor.format.name


def _tiled(node: Node) -> bool:
    """Whether the node's matrix is kept as planes, which these kernels read."""
    return _format(node) in TILES


def _planes(step: Step, node: Node, i: int = 0) -> Planes:
    data = matrix(step, node, i).data
    assert isinstance(data, Planes), f"matrix {i} of {node} is not kept as planes"
    return data


@triton_kernel("embed", _tiled)
def _embed(step: Step, node: Node, ids: Tensor) -> tuple[Tensor, ...]:
    return (decode(_planes(step, node), step.dtype, ids),)


@triton_kernel("linear", _tiled)
def _linear(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (linear(x, _planes(step, node), weight(step, node, 1)),)


@triton_kernel("packed_linear", lambda node: bool(matrices_together(node, TILES)))
def _packed_linear(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    """One product with all of the matrices; its outputs are columns of one tensor."""
    matrices = matrices_together(node, TILES)
    data = step.weights.joined(matrices).data
    assert isinstance(data, Planes), f"the matrices of {node} are not kept as planes"
    sizes = [matrix.shape[0] for matrix in matrices]
    return linear(x, data, _biases(step, node, sizes)).split(sizes, -1)


def _biases(step: Step, node: Node, sizes: list[int]) -> Tensor | None:
    """The biases of a packed product one behind another, 0 where one has none; None where all have none."""
    biases = node.weights[len(sizes) :]
    if not any(biases):
        return None

    def joined() -> Tensor:
        each = (weight(step, node, i) for i in range(len(sizes), 2 * len(sizes)))
        return torch.cat([torch.zeros(n, device=step.device) if b is None else b for n, b in zip(sizes, each, strict=True)])

    return step.weights.derived(("biases", *(bias and id(bias.tensor) for bias in biases)), joined)


@triton_kernel("gated_linear", lambda node: _tiled(node) and _format(node, 0) == _format(node, 1))
def _gated_linear(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    gate, up = _planes(step, node, 0), _planes(step, node, 1)
    biases = weight(step, node, 2), weight(step, node, 3)
    how = node.attrs["kind"], node.attrs.get("limit") or 0.0, node.attrs.get("offset") or 0.0
    if x.numel() == x.shape[-1]:
        return (gated_linear(x, gate, up, *how, biases),)
    return (glu(linear(x, gate, biases[0]), linear(x, up, biases[1]), *how),)


@triton_kernel("expert_linear", _tiled)
def _expert_linear(step: Step, node: Node, x: Tensor, ids: Tensor) -> tuple[Tensor, ...]:
    return (expert_linear(x, ids - node.attrs["first"], _planes(step, node), weight(step, node, 1)),)
