"""Ops over rows of values by Triton's kernels: norms, gated activations, rotary positions, and writes to the cache."""

from __future__ import annotations

import torch
from torch import Tensor

from heron.backends.torch.step import Step, given, triton_kernel, weight
from heron.backends.torch.triton import cache, glu, norm, rope
from heron.graph.graph import Node


def alike(node: Node) -> bool:
    """Whether the node's first two inputs have one shape, so that neither is stretched."""
    return node.inputs[0].shape == node.inputs[1].shape


def one_type(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Both in the type that holds either."""
    dtype = torch.promote_types(x.dtype, y.dtype)
    return x.to(dtype), y.to(dtype)


@triton_kernel("rms_norm")
def rms_norm(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (norm.rms_norm(x, weight(step, node, 0), node.attrs["eps"]),)


@triton_kernel("add_rms_norm", alike)
def add_rms_norm(step: Step, node: Node, x: Tensor, y: Tensor) -> tuple[Tensor, ...]:
    return norm.add_rms_norm(*one_type(x, y), weight(step, node, 0), node.attrs["eps"])


@triton_kernel("layer_norm")
def layer_norm(step: Step, node: Node, x: Tensor) -> tuple[Tensor, ...]:
    return (norm.layer_norm(x, weight(step, node, 0), weight(step, node, 1), node.attrs["eps"]),)


@triton_kernel("glu", alike)
def gated(step: Step, node: Node, gate: Tensor, up: Tensor) -> tuple[Tensor, ...]:
    attrs = node.attrs
    return (glu.glu(*one_type(gate, up), attrs["kind"], attrs.get("limit") or 0.0, attrs.get("offset") or 0.0),)


@triton_kernel("rope")
def turn(step: Step, node: Node, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
    attrs = node.attrs
    return (rope.rope(x, positions, given(step, node, 0), attrs["pairing"], attrs["scale"], attrs.get("sections", ())),)


@triton_kernel("kv_write")
def kv_write(step: Step, node: Node, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    state = node.writes[0]
    cache.write(key, value, step.field(state, "key").data, step.field(state, "value").data, step.own(state))
    return ()


@triton_kernel("latent_write")
def latent_write(step: Step, node: Node, latent: Tensor, rope_key: Tensor) -> tuple[Tensor, ...]:
    state = node.writes[0]
    latents, keys = step.field(state, "latent").data, step.field(state, "rope").data
    cache.write(latent.reshape(len(latent), 1, -1), rope_key.reshape(len(latent), 1, -1), latents, keys, step.own(state))
    return ()
