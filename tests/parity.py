"""Parity with transformers: a tiny random model, the same weights in Heron, the same logits however they are computed.

The comparison is made able to see: every tensor is random, norms and biases included; attention is sharp; the
prompt is longer than any window. ``sensitive`` changes each hyperparameter that the family reads and expects the
comparison to fail.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import HeronError
from heron.graph.graph import Model
from heron.models.builder import Weights
from heron.models.params import Params
from heron.models.registry import FAMILIES, build_model, load_families

Logits = NDArray[np.float32]
Prepare = Callable[[Model, Options], Executable]

#: Largest difference of logits, relative to their standard deviation.
TOLERANCE = 1e-4

#: Backends beside the reference, for tests that hold on each.
OTHER_BACKENDS = [
    pytest.param(
        native,
        id="native",
        marks=[pytest.mark.covers("logits", "native"), pytest.mark.skipif(not native.available(), reason="the core is not compiled")],
    ),
    pytest.param(on_torch, id="torch", marks=pytest.mark.covers("logits", "torch")),
]


def reference_backend(model: Model, options: Options) -> Executable:
    return reference.prepare(model, options=options)


@dataclass
class Tiny:
    """A random model in a HF folder, and what transformers computes with it."""

    folder: Path
    hf: Any

    def expected(self, tokens: Sequence[int]) -> Logits:
        """[T, vocab] logits after each token."""
        with torch.no_grad():
            return self.hf(torch.tensor([list(tokens)]), use_cache=False).logits[0].float().numpy()

    def sharpness(self, tokens: Sequence[int]) -> float:
        """The mean standard deviation of a token's attention logits (which softmax only shifts), over layers that attend."""
        with torch.no_grad():
            attentions = self.hf(torch.tensor([list(tokens)]), use_cache=False, output_attentions=True).attentions
        rows = [a[0, :, t, :].log() for a in attentions if a is not None for t in range(8, len(tokens))]
        return float(np.mean([[head[head > -50].std() for head in row] for row in rows]))


def tiny(config: Any, folder: Path, *, auto: Any = transformers.AutoModelForCausalLM, seed: int = 0, sharp: float = 2.5) -> Tiny:
    """A model of this configuration with every parameter random, saved to ``folder``. ``sharp`` scales queries and keys."""
    load_families()  # so that Checkpoint can open the folder
    torch.manual_seed(seed)
    config._attn_implementation = "eager"
    model = auto.from_config(config, attn_implementation="eager").eval().float()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(_random(name, parameter, sharp))
        for name, buffer in model.named_buffers():
            if "bias" in name:  # a router's correction
                buffer.copy_(torch.randn_like(buffer) * 0.2)
    model.save_pretrained(folder)
    return Tiny(folder, model)


def _random(name: str, parameter: torch.Tensor, sharp: float) -> torch.Tensor:
    noise = torch.randn_like(parameter)
    if "q_norm" in name or "k_norm" in name:  # what makes attention sharp when queries and keys are normed
        return parameter + 0.5 + 0.3 * noise
    if parameter.ndim == 1 or "conv" in name:
        return parameter + 0.3 * noise  # around what it is made as: 1 for most gains, 0 for biases
    if "embed" in name:
        return noise
    scale = (
        sharp
        if any(
            part in name
            for part in ("q_proj", "k_proj", "qkv_proj", "c_attn", "Wqkv", "q_lin", "k_lin", "q_b_proj", "query", "key", ".q.", ".k.")
        )
        else 1.0
    )
    return noise * scale / math.sqrt(parameter.shape[-1])


def prompt(vocab: int, length: int, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(3, vocab, length).tolist()


class Runner:
    """Several sequences over one executable, each with blocks and slots that are deliberately out of order."""

    def __init__(
        self,
        model: Model,
        prepare: Prepare = reference_backend,
        options: Options | None = None,
        sequences: int = 3,
        context: int = 256,
        slots: int = 1,
    ) -> None:
        """``slots`` of each sequence: the first holds its state, others are for snapshots."""
        self.model = model
        self.executable = prepare(model, options or Options(kv_dtype="f32"))
        self.groups = self.executable.state_groups
        rng = np.random.default_rng(0)
        self.tables: dict[str, NDArray[np.int32]] = {}
        units = {}
        for group in self.groups:
            per = slots if group.kind == "slot" else -(-context // group.block_size)
            units[group.name] = per * sequences + 1
            self.tables[group.name] = (rng.permutation(per * sequences) + 1).reshape(sequences, per).astype(np.int32)
        self.executable.allocate(units)
        self.done = [0] * sequences

    def step(self, parts: dict[int, Sequence[int]], want: Iterable[str] = ("logits",), **fields: Any) -> dict[int, dict[str, Logits]]:
        """Run one step of {sequence: its next tokens}; the outputs of each sequence, logits of all its tokens."""
        batch = self.batch(parts, **fields)
        result = self.executable.run("forward", batch, tuple(want))
        cut = batch.query_start
        return {s: {n: a[cut[i] : cut[i + 1]] for n, a in result.arrays.items()} for i, s in enumerate(parts)}

    def batch(self, parts: dict[int, Sequence[int]], **fields: Any) -> Batch:
        order = list(parts)
        fresh = [self.done[s] == 0 for s in order]
        for s in order:
            self.done[s] += len(parts[s])
        tokens = np.concatenate([np.asarray(parts[s], np.int32) for s in order])
        slots = next((t[order, 0] for g, t in self.tables.items() if self._kind(g) == "slot"), np.zeros(len(order), np.int32))
        given: dict[str, Any] = {
            "tokens": tokens,
            "query_start": np.cumsum([0] + [len(parts[s]) for s in order]).astype(np.int32),
            "context_len": np.array([self.done[s] for s in order], np.int32),
            "rows": np.arange(len(tokens), dtype=np.int32),
            "tables": {g: t[order] for g, t in self.tables.items() if self._kind(g) == "token"},
            "cross": {g: t[order] for g, t in self.tables.items() if self._kind(g) == "cross"},
            "slot_read": np.where(fresh, 0, slots).astype(np.int32),
            "slot_write": slots[:, None].astype(np.int32),
        }
        return Batch(**(given | fields))

    def _kind(self, group: str) -> str:
        return next(g.kind for g in self.groups if g.name == group)


def whole(runner: Runner, tokens: Sequence[int]) -> Logits:
    return runner.step({0: tokens})[0]["logits"]


def chunks(runner: Runner, tokens: Sequence[int]) -> Logits:
    cuts = [0, 5, 6, 19, len(tokens)]
    return np.concatenate([runner.step({0: tokens[a:b]})[0]["logits"] for a, b in itertools.pairwise(cuts)])


def one_by_one(runner: Runner, tokens: Sequence[int]) -> Logits:
    return np.concatenate([runner.step({0: [token]})[0]["logits"] for token in tokens])


def ragged(runner: Runner, sequences: Sequence[Sequence[int]]) -> list[Logits]:
    """Three sequences that enter, are chunked and decode beside each other, in an order that is not theirs."""
    left = [list(s) for s in sequences]
    out: list[list[Logits]] = [[], [], []]
    plan: list[dict[int, int]] = [{1: 7}, {1: 1, 0: 9}, {2: 4, 1: 6, 0: 1}, {0: 1, 2: 1}]
    while any(left):
        take = plan.pop(0) if plan else {2: 5, 0: 3, 1: 2}
        parts = {s: [left[s].pop(0) for _ in range(min(n, len(left[s])))] for s, n in take.items() if left[s]}
        if not parts:
            continue
        for s, result in runner.step(parts).items():
            out[s].append(result["logits"])
    return [np.concatenate(parts) for parts in out]


def difference(got: Logits, expected: Logits) -> float:
    """The largest difference, relative to the standard deviation of what is expected."""
    if got.shape != expected.shape or not np.isfinite(got).all():
        return math.inf
    return float(np.abs(got - expected).max() / expected.std())


def check_parity(
    made: Tiny, *, length: int = 40, tolerance: float = TOLERANCE, prepare: Prepare = reference_backend, options: Options | None = None
) -> Model:
    """The four ways of computing logits all give transformers' own. Returns Heron's model."""
    model = build_model(Checkpoint(made.folder))
    tokens = prompt(model.vocab_size, length)
    expected = made.expected(tokens)
    for way in (whole, chunks, one_by_one):
        got = way(Runner(model, prepare, options), tokens)
        assert difference(got, expected) <= tolerance, f"{way.__name__} differs by {difference(got, expected):.2e}"
    sequences = [tokens, prompt(model.vocab_size, length - 9, 1), prompt(model.vocab_size, length - 21, 2)]
    for got, sequence in zip(ragged(Runner(model, prepare, options), sequences), sequences, strict=True):
        off = difference(got, made.expected(sequence))
        assert off <= tolerance, f"a ragged mixture differs by {off:.2e}"
    return model


#: Read, but no part of what is computed in a step: the engine's limits.
LIMITS = frozenset({"context_length", "vocab_size"})

#: What a length is compared with: where a smaller value changes nothing, a greater one must.
THRESHOLDS = ("original_context_length",)


def perturbed(value: Any) -> Any:
    """Another value of the same kind, far enough to be seen."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, str):
        return "none" if value != "none" else "yarn"
    if isinstance(value, (list, tuple)) or getattr(value, "ndim", 0):
        items = list(value)
        return [perturbed(items[0]), *items[1:]] if len(items) == 1 or items[0] != items[-1] else [perturbed(item) for item in items]
    if hasattr(value, "__index__"):
        return max(1, int(value) // 2) if int(value) > 1 else int(value) + 1
    return float(value) * 1.7 + 0.02


def check_sensitive(made: Tiny, *, length: int = 40, ignore: Iterable[str] = ()) -> list[str]:
    """Changing any hyperparameter that the family reads is refused or changes the logits. Returns the keys that were tried."""
    load_families()
    checkpoint = Checkpoint(made.folder)
    architecture = checkpoint.architecture
    params = Params(checkpoint.metadata, architecture)
    FAMILIES[architecture](params).model(params, Weights(checkpoint))
    tokens = prompt(made.hf.config.vocab_size, length)
    expected = made.expected(tokens)
    unseen, tried = [], []
    for key in sorted(params.seen):
        if key.removeprefix(f"{architecture}.") in LIMITS | set(ignore):
            continue
        tried.append(key)

        def changed(value: Any, key: str = key) -> bool:
            """Whether the logits differ with this value in its place, or the model is refused."""
            try:
                p = Params(dict(checkpoint.metadata) | {key: value}, architecture)
                got = whole(Runner(FAMILIES[architecture](p).model(p, Weights(checkpoint))), tokens)
            except HeronError:
                return True
            return difference(got, expected) > 10 * TOLERANCE

        value = checkpoint.metadata[key]
        if not changed(perturbed(value)) and not (key.endswith(THRESHOLDS) and changed(2 * value)):
            unseen.append(key)
    assert not unseen, f"changing {', '.join(unseen)} changes nothing"
    return tried
