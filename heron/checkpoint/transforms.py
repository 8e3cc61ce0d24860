"""Layout differences between HF and GGUF tensors, each a pair of inverses over lazy tensors (see Transform).

Tensors carry GGUF names on both sides; where HF stores apart or together what GGUF does not, they carry names that no
file has, which `renames` give them. Source: the conversions that published GGUF files went through.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.pairing import HalfPaired, to_halves
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import AxisSlice, Concat, InOrder, MapValues, Reshape, Stack
from heron.checkpoint.views import Transpose as TransposedView
from heron.errors import CheckpointError

Tensors = dict[str, Tensor]
Renames = tuple[tuple[str, str], ...]


def hyperparameter(metadata: Metadata, key: str) -> int:
    """The integer `{architecture}.{key}`."""
    return metadata.integer(f"{metadata.text('general.architecture')}.{key}", minimum=1)


def matching(tensors: Tensors, patterns: Sequence[str]) -> Iterator[tuple[str, Tensor]]:
    """The tensors whose whole name matches one of the patterns."""
    regex = re.compile("|".join(f"(?:{p})" for p in patterns))
    yield from [(name, tensor) for name, tensor in tensors.items() if regex.fullmatch(name)]


class Transform(ABC):
    """One difference in layout. Neither direction changes its argument."""

    @property
    def renames(self) -> Renames:
        """(regex of a whole HF name, replacement) for tensors that GGUF does not store as HF does."""
        return ()

    @abstractmethod
    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        """The tensors as GGUF stores them; tensors that the transform does not concern stay as they are."""

    @abstractmethod
    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        """The inverse of `to_gguf`."""


@dataclass(frozen=True)
class Elementwise(Transform):
    """A transform that treats each of the tensors that match `patterns` by itself."""

    patterns: tuple[str, ...]

    @abstractmethod
    def forward(self, tensor: Tensor) -> Tensor: ...

    @abstractmethod
    def inverse(self, tensor: Tensor) -> Tensor: ...

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        return tensors | {name: self.forward(tensor) for name, tensor in matching(tensors, self.patterns)}

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        return tensors | {name: self.inverse(tensor) for name, tensor in matching(tensors, self.patterns)}


class NormPlusOne(Elementwise):
    """HF multiplies a normed value by 1 + w, GGUF stores 1 + w (Gemma, Nemotron, Qwen3-Next)."""

    def forward(self, tensor: Tensor) -> Tensor:
        return MapValues(tensor, lambda w: w + np.float32(1))

    def inverse(self, tensor: Tensor) -> Tensor:
        return MapValues(tensor, lambda w: w - np.float32(1))


class NegExp(Elementwise):
    """HF stores A_log, GGUF A = -exp(A_log) (state space models)."""

    def forward(self, tensor: Tensor) -> Tensor:
        return MapValues(tensor, lambda a_log: -np.exp(a_log))

    def inverse(self, tensor: Tensor) -> Tensor:
        return MapValues(tensor, lambda a: np.log(-a))


class Transpose(Elementwise):
    """HF stores [in, out] (GPT-2's Conv1D, some stacked experts [E, in, out])."""

    def forward(self, tensor: Tensor) -> Tensor:
        return tensor.source if isinstance(tensor, TransposedView) else TransposedView(tensor)

    inverse = forward


@dataclass(frozen=True)
class Squeeze(Elementwise):
    """HF has a dimension of one at `axis` that GGUF drops (a depthwise convolution's [channels, 1, width])."""

    axis: int = 1

    def forward(self, tensor: Tensor) -> Tensor:
        if tensor.dim(self.axis) != 1:
            raise CheckpointError(f"{tensor!r} should have a dimension of 1 at {self.axis}; the model is of another variant")
        return Reshape(tensor, (*tensor.shape[: self.axis], *tensor.shape[self.axis + 1 :]))

    def inverse(self, tensor: Tensor) -> Tensor:
        return Reshape(tensor, (*tensor.shape[: self.axis], 1, *tensor.shape[self.axis :]))


@dataclass(frozen=True)
class UnpermuteRope(Transform):
    """GGUF holds query and key rows permuted to adjacent rope pairs, HF in halves (Llama and its kin).

    To run a HF folder nothing moves: its tensors are marked with pairing "half". `pairing.materialize` moves them.
    `heads` is (pattern, key of the number of heads) for each kind of tensor.
    """

    heads: tuple[tuple[str, str], ...] = (
        (r"blk\.\d+\.attn_q\.(weight|bias)", "attention.head_count"),
        (r"blk\.\d+\.attn_k\.(weight|bias)", "attention.head_count_kv"),
    )

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for pattern, key in self.heads:
            for name, tensor in matching(tensors, (pattern,)):
                result[name] = HalfPaired(tensor, hyperparameter(metadata, key))
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for pattern, key in self.heads:
            for name, tensor in matching(tensors, (pattern,)):
                result[name] = tensor.source if isinstance(tensor, HalfPaired) else to_halves(tensor, hyperparameter(metadata, key))
        return result


def split_grouped(tensor: Tensor, groups: int, sizes: Sequence[int]) -> list[Tensor]:
    """Rows stored group by group, each holding `sizes` rows of each part: each part's rows together. Lazy."""
    if tensor.dim(0) != groups * sum(sizes):
        raise CheckpointError(f"{tensor!r} should have {groups} x {sum(sizes)} rows; hyperparameters and tensors disagree")
    grouped = Reshape(tensor, (groups, sum(sizes), *tensor.shape[1:]))
    starts = np.cumsum([0, *sizes])
    return [
        Reshape(AxisSlice(grouped, 1, int(start), int(start) + size), (groups * size, *tensor.shape[1:]))
        for start, size in zip(starts, sizes, strict=False)
    ]


def merge_grouped(parts: Sequence[Tensor], groups: int) -> Tensor:
    """The inverse of `split_grouped`. Lazy."""
    shaped = [Reshape(t, (groups, t.shape[0] // groups, *t.shape[1:])) for t in parts]
    joined = Concat(shaped, axis=1)
    return Reshape(joined, (groups * joined.shape[1], *parts[0].shape[1:]))


@dataclass(frozen=True)
class SplitQKV(Transform):
    """HF fuses q, k and v in one matrix, here `blk.N.attn_qkv`, which becomes attn_q, attn_k and attn_v.

    layout  "concat": all of q, then k, then v; "groups": for each key-value head its queries, then k, then v
            (InternLM 2; with as many heads as key-value heads that is [heads, 3, dim])
    """

    layout: str = "concat"
    patterns: tuple[str, ...] = (r"blk\.\d+\.attn_qkv\.(weight|bias)",)

    def _sizes(self, metadata: Metadata) -> tuple[int, list[int]]:
        heads, kv_heads = hyperparameter(metadata, "attention.head_count"), hyperparameter(metadata, "attention.head_count_kv")
        key, value = hyperparameter(metadata, "attention.key_length"), hyperparameter(metadata, "attention.value_length")
        groups = kv_heads if self.layout == "groups" else 1
        return groups, [heads * key // groups, kv_heads * key // groups, kv_heads * value // groups]

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, tensor in matching(tensors, self.patterns):
            del result[name]
            for part, piece in zip("qkv", split_grouped(tensor, *self._sizes(metadata)), strict=True):
                result[name.replace("attn_qkv", f"attn_{part}")] = piece
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, _ in matching(tensors, [p.replace("attn_qkv", "attn_q") for p in self.patterns]):
            parts = [result.pop(name.replace("attn_q.", f"attn_{part}.")) for part in "qkv"]
            result[name.replace("attn_q.", "attn_qkv.")] = merge_grouped(parts, self._sizes(metadata)[0])
        return result


_EXPERT = r".*\blayers\.(\d+)\.(?:mlp|block_sparse_moe|feed_forward)\.experts\."
_GATE, _UP, _DOWN, _BOTH = "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps", "ffn_gate_up_exps"


@dataclass(frozen=True)
class StackExperts(Transform):
    """GGUF stacks the experts of a layer, [E, out, in]; HF stores each apart, or (transformers 5) gate and up fused.

    Per expert: blk.N.ffn_gate_exps.E.weight and so on. Fused: blk.N.ffn_gate_up_exps.weight [E, 2 ff, in], the gate's
    half first, beside an ffn_down_exps that is already stacked. The inverse writes them per expert.
    """

    renames: Renames = (
        (_EXPERT + r"(\d+)\.(?:gate_proj|w1)\.(weight|bias)", rf"blk.\1.{_GATE}.\2.\3"),
        (_EXPERT + r"(\d+)\.(?:up_proj|w3)\.(weight|bias)", rf"blk.\1.{_UP}.\2.\3"),
        (_EXPERT + r"(\d+)\.(?:down_proj|w2)\.(weight|bias)", rf"blk.\1.{_DOWN}.\2.\3"),
        (_EXPERT + r"gate_up_proj(?:\.weight)?", rf"blk.\1.{_BOTH}.weight"),
        (_EXPERT + r"down_proj(?:\.weight)?", rf"blk.\1.{_DOWN}.weight"),
    )

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result: Tensors = {}
        stacks: dict[str, dict[int, Tensor]] = {}
        for name, tensor in tensors.items():
            if match := re.fullmatch(r"(blk\.\d+\.ffn_\w+_exps)\.(\d+)\.(weight|bias|scale)", name):
                stacks.setdefault(f"{match[1]}.{match[3]}", {})[int(match[2])] = tensor
            elif _BOTH in name:
                half = tensor.dim(1) // 2
                result[name.replace(_BOTH, _GATE)] = AxisSlice(tensor, 1, 0, half)
                result[name.replace(_BOTH, _UP)] = AxisSlice(tensor, 1, half, 2 * half)
            else:
                result[name] = tensor
        for name, stack in stacks.items():
            count = hyperparameter(metadata, "expert_count")
            absent = [e for e in range(count) if e not in stack]
            if absent or len(stack) != count:
                raise CheckpointError(f"{name} has {len(stack)} experts, config.json says {count}; the folder is incomplete")
            join = Concat if name.endswith(".scale") else Stack
            result[name] = join([stack[e] for e in range(count)])
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, tensor in matching(tensors, (r"blk\.\d+\.ffn_(gate|up|down)_exps\.(weight|bias)",)):
            del result[name]
            stem, suffix = name.rsplit(".", 1)
            for expert in range(tensor.shape[0]):
                result[f"{stem}.{expert}.{suffix}"] = Reshape(AxisSlice(tensor, 0, expert, expert + 1), tensor.shape[1:])
        return result


def split_kv_b(tensor: Tensor, heads: int, nope: int, value: int) -> tuple[Tensor, Tensor]:
    """Latent attention's up-projection [heads (nope + value), rank] -> keys [heads, rank, nope], values [heads, value, rank].

    Lazy. Blocks run along a row, so that of a quantized tensor (in GGUF files before the split) the keys are decoded to be turned.
    """
    rank = tensor.dim(1)
    key_part, value_part = split_grouped(tensor, heads, (nope, value))
    key_part = Reshape(key_part, (heads, nope, rank))
    if not key_part.format.plain or key_part.column_order is not None:
        key_part = InOrder(key_part)
    return TransposedView(key_part), Reshape(value_part, (heads, value, rank))


@dataclass(frozen=True)
class SplitKVB(Transform):
    """Latent attention's up-projection `attn_kv_b` [heads (nope + v), rank], split by heads into the absorbed form's
    `attn_k_b` [heads, rank, nope] (transposed) and `attn_v_b` [heads, v, rank] (DeepSeek)."""

    patterns: tuple[str, ...] = (r"blk\.\d+\.attn_kv_b\.weight",)

    def _sizes(self, metadata: Metadata) -> tuple[int, int, int]:
        """Heads, and each one's key dimensions without rope and value dimensions."""
        nope = hyperparameter(metadata, "attention.key_length_mla") - hyperparameter(metadata, "rope.dimension_count")
        return hyperparameter(metadata, "attention.head_count"), nope, hyperparameter(metadata, "attention.value_length_mla")

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, _ in matching(tensors, self.patterns):
            joined = result.pop(name)
            if (scale := result.pop(name.replace("weight", "scale"), None)) is not None:  # of NVFP4: the parts have none
                joined = MapValues(joined, partial(np.multiply, scale.numpy().reshape(())))
            key_part, value_part = split_kv_b(joined, *self._sizes(metadata))
            result[name.replace("attn_kv_b", "attn_k_b")] = key_part
            result[name.replace("attn_kv_b", "attn_v_b")] = value_part
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, _ in matching(tensors, [p.replace("kv_b", "k_b") for p in self.patterns]):
            key_part = TransposedView(result.pop(name))
            value_part = result.pop(name.replace("attn_k_b", "attn_v_b"))
            joined = Concat([key_part, value_part], axis=1)
            result[name.replace("attn_k_b", "attn_kv_b")] = Reshape(joined, (joined.shape[0] * joined.shape[1], joined.shape[2]))
        return result
