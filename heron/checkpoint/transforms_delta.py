"""Layout of recurrent mixers' tensors. See heron/checkpoint/transforms.py for what a transform is."""

from __future__ import annotations

from dataclasses import dataclass

from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import Tensors, Transform, hyperparameter, matching, merge_grouped, split_grouped
from heron.checkpoint.views import Concat, Reshape
from heron.errors import CheckpointError


@dataclass(frozen=True)
class UngroupQKVZ(Transform):
    """Qwen3-Next's fused projection: HF stores q, k, v and gate of one key head, then of the next (here `blk.N.ssm_in`).

    GGUF stores all of q, all of k, all of v in `blk.N.attn_qkv`, and all of the gate in `blk.N.attn_gate`. The
    rows of beta and decay (`ssm_ba`) stay grouped in both.
    """

    patterns: tuple[str, ...] = (r"blk\.\d+\.ssm_in\.weight",)

    def _groups(self, metadata: Metadata) -> tuple[int, tuple[int, int, int, int]]:
        """Key heads, and the rows of q, k, v and gate of each."""
        heads, key = hyperparameter(metadata, "ssm.group_count"), hyperparameter(metadata, "ssm.state_size")
        value = hyperparameter(metadata, "ssm.inner_size") // heads
        return heads, (key, key, value, value)

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, _ in matching(tensors, self.patterns):
            *qkv, gate = split_grouped(result.pop(name), *self._groups(metadata))
            result[name.replace("ssm_in", "attn_qkv")] = Concat(qkv)
            result[name.replace("ssm_in", "attn_gate")] = gate
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, _ in matching(tensors, [p.replace("ssm_in", "attn_gate") for p in self.patterns]):
            heads, (*qkv_rows, _) = self._groups(metadata)
            gate, qkv = result.pop(name), result.pop(name.replace("attn_gate", "attn_qkv"))
            parts = split_grouped(qkv, 1, [heads * rows for rows in qkv_rows])
            result[name.replace("attn_gate", "ssm_in")] = merge_grouped([*parts, gate], heads)
        return result


@dataclass(frozen=True)
class InRows(Transform):
    """HF stores [n] what GGUF stores in as many rows as the hyperparameter `key` says (Mamba-2's heads and groups)."""

    patterns: tuple[str, ...]
    key: str

    def to_gguf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        result = dict(tensors)
        for name, tensor in matching(tensors, self.patterns):
            rows, size = hyperparameter(metadata, self.key), tensor.dim(0)
            if size % rows:
                raise CheckpointError(f"{tensor!r} does not fill {rows} rows ({self.key}); hyperparameters and tensors disagree")
            result[name] = Reshape(tensor, (rows, size // rows))
        return result

    def to_hf(self, tensors: Tensors, metadata: Metadata) -> Tensors:
        return tensors | {name: Reshape(t, (t.dim(0) * t.dim(1),)) for name, t in matching(tensors, self.patterns)}
