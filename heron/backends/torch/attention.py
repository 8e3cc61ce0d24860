"""Torch kernels of attention. Shapes and meanings: heron/graph/ops_attention.py.

Keys and values are read as they are stored, those of this step included. Where scores are only scaled, masked or shifted,
``scaled_dot_product_attention`` picks torch's own kernel; caps and sinks are computed here, in f32.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from heron.backends.reference.attention import refuse_trees, relative_buckets
from heron.backends.torch.step import Step, given, kernel, matrix, weight
from heron.backends.torch.views import View, views
from heron.graph.graph import Node


@kernel("rope")
def rope(step: Step, node: Node, x: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
    n = given(step, node, 0).shape[0]
    attrs = node.attrs
    key = ("rope", id(node.weights[0]), tuple(attrs.get("sections", ())), attrs["scale"])
    cos, sin = step.once(key, lambda: _turns(step, node, positions))
    adjacent = attrs["pairing"] == "adjacent"
    turned, rest = x[..., : 2 * n].float(), x[..., 2 * n :]
    first, second = (turned[..., ::2], turned[..., 1::2]) if adjacent else (turned[..., :n], turned[..., n:])
    pair = (first * cos - second * sin, first * sin + second * cos)
    y = torch.stack(pair, -1).flatten(-2) if adjacent else torch.cat(pair, -1)
    return (torch.cat([y.to(x.dtype), rest], -1) if rest.shape[-1] else y.to(x.dtype),)


def _turns(step: Step, node: Node, positions: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine [T, 1, n] of each token's angles."""
    sections, scale = tuple(node.attrs.get("sections", ())), node.attrs["scale"]
    at = positions[0][:, None]
    if sections:  # each takes its angles from an axis of its own
        axis = step.weights.derived(("sections", sections), lambda: torch.from_numpy(np.repeat(np.arange(len(sections)), sections)))
        at = positions[axis].T
    angle = (at.float() * given(step, node, 0))[:, None]
    return angle.cos() * scale, angle.sin() * scale


@kernel("kv_write")
def kv_write(step: Step, node: Node, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
    _write(step, node, key=key, value=value)
    return ()


@kernel("latent_write")
def latent_write(step: Step, node: Node, latent: Tensor, rope_key: Tensor) -> tuple[Tensor, ...]:
    _write(step, node, latent=latent, rope=rope_key)
    return ()


def _write(step: Step, node: Node, **values: Tensor) -> None:
    state = node.writes[0]
    at = step.own(state)
    for name, x in values.items():
        field = step.field(state, name)
        field.write(at, x.reshape(-1, *field.shape))


def dot_product(
    view: View,
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    *,
    softcap: float = 0.0,
    sinks: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """q [G, n, H, Dk], k [G, K, Hkv, Dk], v [G, K, Hkv, Dv], bias [G, H, n, K] added to the scores -> [G, n, H, Dv]."""
    heads, n = q.shape[2], q.shape[1]
    q, k, v = (x.transpose(1, 2) for x in (q, k, v))
    share = heads // k.shape[1]
    if view.staircase and not softcap and sinks is None and bias is None:
        k, v = (x.repeat_interleave(share, 1) if share > 1 else x for x in (k, v))
        return scaled_dot_product_attention(q, k, v, is_causal=True, scale=scale).transpose(1, 2)
    q = q.reshape(len(q), k.shape[1], share * n, -1)  # heads that share a key are further queries to it
    seen = view.distance <= 0 if view.staircase else view.seen
    if softcap or sinks is not None:
        y = _explicit(q.float(), k.float(), v.float(), n, seen, scale, softcap, sinks, bias).to(v.dtype)
    else:
        mask = None if seen is None else seen[:, None].repeat(1, 1, share, 1)
        if bias is not None:
            bias = bias if seen is None else bias.masked_fill(~seen[:, None], -torch.inf)
            mask = bias.expand(len(q), -1, -1, -1).reshape(len(q), k.shape[1], share * n, -1).to(q.dtype)
        y = scaled_dot_product_attention(q, k, v, mask, scale=scale)
    return y.reshape(len(q), heads, n, -1).transpose(1, 2)


def _explicit(
    q: Tensor, k: Tensor, v: Tensor, n: int, seen: Tensor | None, scale: float, softcap: float, sinks: Tensor | None, bias: Tensor | None
) -> Tensor:
    """q [G, Hkv, share n, Dk], k and v [G, Hkv, K, D] -> [G, Hkv, share n, Dv], all in f32."""
    scores = (q @ k.transpose(-1, -2) * scale).reshape(len(q), -1, n, k.shape[2])  # [G, H, n, K]
    if softcap:
        scores = softcap * torch.tanh(scores / softcap)
    if bias is not None:
        scores = scores + bias
    if seen is not None:
        scores = scores.masked_fill(~seen[:, None], -torch.inf)
    if sinks is not None:
        column = sinks[None, :, None, None].expand(*scores.shape[:3], 1)
        shares = torch.cat([scores, column], -1).softmax(-1)[..., :-1]
    else:
        shares = scores.softmax(-1)
    return shares.reshape(*q.shape[:3], -1) @ v


def _score_bias(step: Step, node: Node, view: View) -> Tensor | None:
    """[G, H, n, K] what is added to the scores by distance, in f32."""
    relative, slopes = weight(step, node, 1), weight(step, node, 2)
    total = None
    if relative is not None:
        reach = int(node.attrs["max_distance"])  # further ones fall into the same bucket
        key = ("buckets", id(node.weights[1]), node.attrs["bidirectional"])
        table = step.weights.derived(key, lambda: _by_distance(node, relative, reach))
        total = table[view.distance.clamp(-reach, reach) + reach].permute(0, 3, 1, 2)
    if slopes is not None:
        taken = slopes[:, None, None] * view.distance.abs().float()[:, None]
        total = -taken if total is None else total - taken
    return total


def _by_distance(node: Node, relative: Tensor, reach: int) -> Tensor:
    """[2 reach + 1, H] the relative bias of each distance, from -reach on."""
    distance = np.arange(-reach, reach + 1, dtype=np.int32)
    buckets = relative_buckets(distance, len(relative), reach, node.attrs["bidirectional"])
    return relative[torch.from_numpy(np.array(buckets, np.int64)).to(relative.device)]


@kernel("attend")
def attend(step: Step, node: Node, q: Tensor, k: Tensor | None = None, v: Tensor | None = None) -> tuple[Tensor, ...]:
    attrs, state = node.attrs, node.reads[0] if k is None else None
    if any(node.weights[1:3]):
        refuse_trees(step.batch, "attention by distance")
    width = attrs["value_dim"] if v is None else v.shape[-1]
    y = q.new_zeros(*q.shape[:2], width)
    for view in views(step, state, attrs["causal"], attrs.get("window", 0)):
        if k is None or v is None:
            assert state is not None
            key, value = (step.field(state, name).read(view.keys, q.dtype) for name in ("key", "value"))
        else:
            key, value = k[view.keys], v[view.keys]
        bias, sinks = _score_bias(step, node, view), weight(step, node, 0)
        y[view.tokens] = dot_product(
            view, q[view.tokens], key, value, attrs["scale"], softcap=attrs.get("softcap", 0.0), sinks=sinks, bias=bias
        )
    return (y,)


@kernel("latent_attend")
def latent_attend(step: Step, node: Node, q_nope: Tensor, q_rope: Tensor, *own: Tensor) -> tuple[Tensor, ...]:
    key_up, value_up = (matrix(step, node, i).whole(q_nope.dtype) for i in (0, 1))  # [H, rank, Dn], [H, Dv, rank]
    state, scale, form = None if own else node.reads[0], node.attrs["scale"], node.attrs["form"]
    y = q_nope.new_zeros(*q_nope.shape[:2], value_up.shape[1])
    for view in views(step, state, True, 0):
        nope, turned = q_nope[view.tokens], q_rope[view.tokens]
        if state is None:
            latent, rope_key = (x[view.keys] for x in own)  # [G, K, rank], [G, K, Dr]
        else:
            latent, rope_key = (step.field(state, name).read(view.keys, nope.dtype) for name in ("latent", "rope"))
        chosen = form
        if form == "auto":  # expanding pays where many queries share the keys that it makes
            chosen = "expanded" if view.tokens.shape[1] * 2 > view.keys.shape[1] else "absorbed"
        if chosen == "absorbed":
            q = torch.cat([torch.einsum("gnhd,hrd->gnhr", nope, key_up), turned], -1)
            k = torch.cat([latent, rope_key], -1)[:, :, None]
            mixed = dot_product(view, q, k, latent[:, :, None], scale)
            y[view.tokens] = torch.einsum("gnhr,hdr->gnhd", mixed, value_up)
        else:
            expanded = torch.einsum("gkr,hrd->gkhd", latent, key_up)
            k = torch.cat([expanded, rope_key[:, :, None].expand(-1, -1, len(key_up), -1)], -1)
            v = torch.einsum("gkr,hdr->gkhd", latent, value_up)
            y[view.tokens] = dot_product(view, torch.cat([nope, turned], -1), k, v, scale)
    return (y,)
