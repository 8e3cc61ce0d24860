"""Attention by Triton's kernels: which kernel computes which of a step's sequences. Meanings: heron/graph/ops_attention.py.

Sequences with few tokens in the step are decoded, the others prefilled. Where torch's own causal kernel does as well, it is taken:
whole prompts of one length in half precision. Drafts that branch and bias by distance are torch's, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from heron.backends.torch import attention as plain
from heron.backends.torch.step import Step, given, matrix, triton_kernel, weight
from heron.backends.torch.triton.attention import Keys, Score, Span, product_type
from heron.backends.torch.triton.attention_decode import LONGEST, decode
from heron.backends.torch.triton.attention_prefill import prefill, tile_rows, tiles_of
from heron.backends.torch.triton.launch import power_of_two
from heron.backends.torch.triton.rope_write import rope_write
from heron.graph.graph import Node, State, Weight


def _scores(weights: Sequence[Weight | None]) -> bool:
    """Whether the kernels know all that these weights do to scores: no relative bias."""
    return len(weights) < 2 or weights[1] is None


@triton_kernel("rope_attention", lambda node: _scores(node.weights[1:]))
def rope_attention(step: Step, node: Node, q: Tensor, k: Tensor, v: Tensor, positions: Tensor) -> tuple[Tensor, ...]:
    attrs, state = node.attrs, node.writes[0]
    keys, values = (step.field(state, name).data for name in ("key", "value"))
    turn = (attrs["pairing"], attrs["rope_scale"], attrs.get("sections", ()))
    q = rope_write(q, k, v, keys, values, step.own(state), positions, given(step, node, 0), *turn)
    return attend(step, replace(node, weights=node.weights[1:]), q)


@triton_kernel("attend", lambda node: _scores(node.weights))
def attend(step: Step, node: Node, q: Tensor, k: Tensor | None = None, v: Tensor | None = None) -> tuple[Tensor, ...]:
    attrs, lengths = node.attrs, step.batch.lengths()
    sinks, slopes = weight(step, node, 0), weight(step, node, 2)
    score = Score(attrs["scale"], attrs["causal"], attrs.get("window", 0), attrs.get("softcap", 0.0), sinks, slopes)
    if len(step.batch.parents) or _suits_torch(step, score, q.dtype):
        return plain.attend(step, node, q) if k is None or v is None else plain.attend(step, node, q, k, v)
    if k is None or v is None:
        state = node.reads[0]
        keys, span, beyond = _cached(step, state, "key", "value"), _span(step, state), LONGEST
    else:
        keys, span, beyond = Keys(k.contiguous(), v.contiguous()), _alone(step), 0
    y = torch.empty(*q.shape[:2], keys.dims[2], dtype=q.dtype, device=q.device)
    short = lengths[(lengths > 0) & (lengths <= beyond)]
    if len(short):
        decode(q, keys, score, span, power_of_two(int(short.max())), y)
    if (lengths > beyond).any():
        half, share = product_type(q, keys.key) != torch.float32, q.shape[1] // keys.key.shape[1]
        block = tile_rows(max(keys.dims), half)
        tiles = step.once(("tiles", share, block, beyond), lambda: step.index(tiles_of(lengths, share, block, beyond)).int())
        prefill(q, keys, score, span, tiles, block, y)
    return (y,)


@triton_kernel("latent_attend", lambda node: node.attrs["form"] != "expanded")
def latent_attend(step: Step, node: Node, q_nope: Tensor, q_rope: Tensor) -> tuple[Tensor, ...]:
    """Few tokens in the absorbed form, whose keys are the latents; steps with more are torch's."""
    lengths = step.batch.lengths()
    if len(step.batch.parents) or (lengths > LONGEST).any():
        return plain.latent_attend(step, node, q_nope, q_rope)
    key_up, value_up = (matrix(step, node, i).whole(q_nope.dtype) for i in (0, 1))  # [H, rank, Dn], [H, Dv, rank]
    state, longest = node.reads[0], power_of_two(int(lengths.max(initial=1)))
    keys = _cached(step, state, "latent", None, "rope")
    q = torch.einsum("thd,hrd->thr", q_nope, key_up)
    mixed = decode(q, keys, Score(node.attrs["scale"]), _span(step, state), longest, q2=q_rope)
    return (torch.einsum("thr,hdr->thd", mixed, value_up),)


def _suits_torch(step: Step, score: Score, dtype: torch.dtype) -> bool:
    """Whether all sequences are whole prompts of one length, whose scores are only scaled: torch's flash attention takes them so."""
    lengths = step.batch.lengths()
    special = score.softcap or score.sinks is not None or score.slopes is not None
    if dtype == torch.float32 or special or not len(lengths) or lengths[0] <= LONGEST or (score.window and lengths[0] >= score.window):
        return False
    return bool((lengths == lengths[0]).all() and (step.batch.context_len == lengths).all() and score.causal)


def _cached(step: Step, state: State, key: str, value: str | None, rope: str | None = None) -> Keys:
    """The fields of these names, as heads of keys and values."""

    def field(name: str) -> Tensor:
        data = step.field(state, name).data
        return data if data.dim() == 3 else data[:, None]

    group = step.group(state)
    second = None if rope is None else field(rope)
    table, start = step.inputs.table(group.name), step.inputs.table_start(group.name)
    return Keys(field(key), None if value is None else field(value), second, table, start, group.block_size)


def _span(step: Step, state: State) -> Span:
    inputs, cross = step.inputs, step.group(state).kind == "cross"
    return Span(inputs.query_start, inputs.context_len, inputs["cross_len"] if cross else inputs.context_len)


def _alone(step: Step) -> Span:
    """Of tokens that attend to those of the step."""
    lengths = step.once("lengths", lambda: step.inputs.query_start.diff())
    return Span(step.inputs.query_start, lengths, lengths)
