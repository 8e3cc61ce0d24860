"""Triton's kernels of ops that multiply by quantized weights or take rows of them. Meanings: heron/graph/ops_core.py, ops_fused.py."""

from __future__ import annotations

from torch import Tensor

from heron.backends.torch.planes import Planes
from heron.backends.torch.step import Step, matrix, triton_kernel, weight
from heron.backends.torch.triton.decode import decode
from heron.backends.torch.triton.experts import expert_linear
from heron.backends.torch.triton.glu import glu
from heron.backends.torch.triton.linear import gated_linear, linear
from heron.backends.torch.triton.tiles import TILES
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
