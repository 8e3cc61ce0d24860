"""Mixture of experts: a router picks k experts for each token, and their outputs are added with weights."""

from __future__ import annotations

from dataclasses import dataclass

from heron.errors import CheckpointError
from heron.graph.dims import T
from heron.graph.graph import Value
from heron.models.blocks.mlp import GatedMLP
from heron.models.builder import ModelBuilder

#: The least sum that weights are divided by when they are renormalized: the smallest normal number in half precision.
FLOOR = 6.103515625e-5


@dataclass(frozen=True)
class Router:
    """Scores are ``softmax`` or ``sigmoid`` of ``ffn_gate_inp``; ``used`` of ``experts`` are chosen.

    ``exp_probs_b``, where the checkpoint has it, is added for the choice alone. With ``groups`` > 1, only the
    experts of the best ``groups_used`` groups may be chosen; a group is as good as the sum of its ``group_best``
    best experts (DeepSeek-AI 2024).
    """

    experts: int
    used: int
    scoring: str = "softmax"
    renormalize: bool = True
    scale: float = 1.0
    groups: int = 1
    groups_used: int = 1
    group_best: int = 1

    def build(self, b: ModelBuilder, x: Value) -> tuple[Value, Value]:
        """x [T, hidden] -> weights [T, used], ids i32[T, used]."""
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        self._check(b)
        logits = b.linear(x, b.weight("ffn_gate_inp.weight", self.experts, hidden), b.maybe("ffn_gate_inp.bias", self.experts))
        scores = b.softmax(logits) if self.scoring == "softmax" else b.activation(logits, self.scoring)
        offset = b.maybe("exp_probs_b.bias", self.experts)
        choice = scores if offset is None else b.bias(scores, offset)
        if self.groups > 1:
            choice = self._best_groups(b, choice)
        _, ids = b.topk(choice, self.used)
        weights = b.take(scores, ids)
        if self.renormalize:
            weights = b.normalize(weights, FLOOR)
        return b.scale(weights, self.scale), ids

    def _check(self, b: ModelBuilder) -> None:
        size = self.experts // self.groups
        if self.experts % self.groups or self.groups_used > self.groups or self.used > self.groups_used * size or self.group_best > size:
            raise CheckpointError(
                f"{b.weights.checkpoint.path}: {self.used} of {self.experts} experts cannot be chosen from the best {self.groups_used} of "
                f"{self.groups} groups; the metadata are damaged"
            )

    def _best_groups(self, b: ModelBuilder, choice: Value) -> Value:
        grouped = b.reshape(choice, T, self.groups, self.experts // self.groups)
        best, _ = b.topk(grouped, self.group_best)
        mask = b.topk_mask(b.reshape(b.sum(best), T, self.groups), self.groups_used)
        kept = b.mask_fill(grouped, b.reshape(mask, T, self.groups, 1), float("-inf"))
        return b.reshape(kept, T, self.experts)


@dataclass(frozen=True)
class MoE:
    """Routed gated experts (``ffn_*_exps``), and beside them a shared one for every token, with a gate of its own or without.

    ``kind``, ``limit`` and ``offset`` are those of ``glu``; each expert has biases where the checkpoint does.
    """

    router: Router
    width: int
    kind: str = "silu"
    limit: float = 0.0
    offset: float = 0.0
    shared: GatedMLP | None = None
    shared_gate: bool = False

    def build(self, b: ModelBuilder, x: Value) -> Value:
        """x [T, hidden] -> [T, hidden]."""
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        with b.scope("moe"):
            weights, ids = self.router.build(b, x)
            fused = b.has("ffn_gate_up_exps.weight")
            halves = ((0, self.width), (self.width, 2 * self.width))
            stored = [("ffn_gate_up_exps", half) for half in halves] if fused else [("ffn_gate_exps", None), ("ffn_up_exps", None)]
            gate, up = (self._product(b, x, ids, name, self.width, part) for name, part in stored)
            middle = b.glu(gate, up, self.kind, self.limit, self.offset)
            out = b.combine(self._product(b, middle, ids, "ffn_down_exps", hidden), weights)
        return out if self.shared is None else b.add(out, self._shared(b, x, self.shared))

    def _product(self, b: ModelBuilder, x: Value, ids: Value, name: str, size: int, part: tuple[int, int] | None = None) -> Value:
        experts, width = self.router.experts, x.shape[-1]
        assert isinstance(width, int)
        bias = b.maybe(f"{name}.bias", experts, size, role="expert", part=part)
        return b.expert_linear(x, ids, b.weight(f"{name}.weight", experts, size, width, role="expert", part=part), bias)

    def _shared(self, b: ModelBuilder, x: Value, shared: GatedMLP) -> Value:
        out = shared.build(b, x)
        if not self.shared_gate:
            return out
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        gate = b.linear(x, b.weight("ffn_gate_inp_shexp.weight", 1, hidden))
        return b.mul(out, b.activation(gate, "sigmoid"))
