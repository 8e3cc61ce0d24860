"""Native kernels of recurrences against the reference's, on odd shapes, for every instruction set; the same bits however it is divided."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import parity
import pytest
from numpy.typing import NDArray
from test_native_ops import TOLERANCE, VOCAB, Case, instruction_sets
from tiny_models import OTHERS, make
from tiny_recurrent import RECURRENT

from heron.backends import native, reference
from heron.backends.base import Executable, Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.views import Const
from heron.errors import BackendError
from heron.graph.dims import T
from heron.graph.graph import Field, Group, Model, Traits, Value, Weight
from heron.models.registry import build_model

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")

SLOTS = Group("recurrent", "slot")
ROOMS = 12
LENGTHS = (1, 70, 5)  # of three sequences
Build = Callable[[Case], Value]


def conv(channels: int, taps: int, bias: bool = True) -> Build:
    def build(c: Case) -> Value:
        state = c.b.state("window", SLOTS, window=Field((taps - 1, channels), "f32"))
        return c.b.causal_conv(c.x(channels), c.weight(channels, taps), c.weight(channels) if bias else None, state)

    return build


def scan(heads: int, channels: int, groups: int, numbers: int, rates: int = 1) -> Build:
    def build(c: Case) -> Value:
        state = c.b.state("scan", SLOTS, matrix=Field((heads, channels, numbers), "f32"))
        step = c.b.activation(c.x(heads), "softplus")
        rate = Weight("rate", Const(-np.exp(c.rng.normal(-1, 1, (heads, rates)))))
        return c.b.selective_scan(c.x(heads, channels), step, c.x(groups, numbers), c.x(groups, numbers), rate, state)

    return build


def delta(key_heads: int, heads: int, keys: int, values: int) -> Build:
    def build(c: Case) -> Value:
        state = c.b.state("delta", SLOTS, matrix=Field((heads, keys, values), "f32"))
        q, k = (c.b.scale(c.b.rms_norm(c.x(key_heads, keys), None, 1e-6), keys**-0.5) for _ in range(2))
        decay = c.b.scale(c.b.activation(c.x(heads), "softplus"), -0.2)
        return c.b.delta_rule(q, k, c.x(heads, values), decay, c.b.activation(c.x(heads), "sigmoid"), state)

    return build


CASES: dict[str, Build] = {
    "convolution": conv(37, 4),
    "convolution without bias": conv(16, 3, bias=False),
    "convolution of one tap": conv(5, 1),
    "convolution, long": conv(3, 9),
    "scan of channels": scan(67, 1, 1, 16, rates=16),
    "scan of channels, odd": scan(21, 1, 3, 5, rates=5),
    "scan of channels, many": scan(700, 1, 1, 10, rates=10),
    "scan of heads": scan(6, 8, 2, 32),
    "scan of heads, odd": scan(6, 5, 3, 19),
    "scan of heads, each number its own rate": scan(4, 3, 2, 7, rates=7),
    "scan of one number": scan(3, 5, 1, 1),
    "scan of large heads": scan(3, 64, 1, 128),
    "delta rule": delta(2, 4, 16, 32),
    "delta rule, odd": delta(3, 3, 7, 21),
    "delta rule, wide": delta(1, 2, 33, 130),
    "delta rule of one value": delta(2, 2, 5, 1),
}


def model_of(build: Build) -> Model:
    case = Case()
    y = build(case)
    size = int(np.prod([s for s in y.shape[1:] if isinstance(s, int)]))
    graph = case.b.finish(logits=case.b.rows(case.b.reshape(y, T, size)))
    return Model("test", {"forward": graph}, 0, VOCAB, 0, Traits())


def prepare(backend: Any, model: Model, threads: int = 2) -> Executable:
    executable: Executable = backend.prepare(model, options=Options(threads=threads))
    executable.allocate({"recurrent": ROOMS})
    return executable


def batch(parts: Sequence[NDArray[np.int32]], before: Sequence[int], **slots: Any) -> Batch:
    lengths = [len(part) for part in parts]
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    return Batch(
        tokens=np.concatenate(parts),
        query_start=starts,
        context_len=np.add(before, lengths).astype(np.int32),
        rows=np.arange(starts[-1], dtype=np.int32),
        **{name: np.asarray(value, np.int32) for name, value in slots.items()},
    )


def steps() -> Iterator[Batch]:
    """Three sequences begin, beside a padded one, with snapshots inside of the step; from these they go on, in others' places."""
    rng = np.random.default_rng(1)
    first, second, third = (rng.integers(0, VOCAB, n).astype(np.int32) for n in LENGTHS)
    none = np.zeros(0, np.int32)
    yield batch(
        [first, second, none, third],
        [0, 0, 0, 0],
        slot_write=[[1, 0, 0], [2, 5, 6], [0, 0, 7], [3, 8, 0]],
        slot_offset=[[1, 0, 0], [70, 0, 33], [0, 0, 0], [5, 4, 0]],
    )
    yield batch([third, first, second], [70, 33, 1], slot_read=[2, 6, 1], slot_write=[[1], [2], [9]])
    yield batch([second, second], [75, 4], slot_read=[1, 8])


@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
@pytest.mark.parametrize("name", CASES)
def test_kernel(name: str, isa: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    """What is computed, and every slot that is left."""
    monkeypatch.setenv("HERON_ISA", isa)
    model = model_of(CASES[name])
    ours, meant = prepare(native, model), prepare(reference, model)
    assert not recwarn.list  # nothing fell back to the reference
    for step in steps():
        got, expected = (executable.run("forward", step)["logits"] for executable in (ours, meant))
        assert np.isfinite(expected).all()
        np.testing.assert_allclose(got, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())
        left, stored = (np.frombuffer(executable.export("recurrent", range(1, ROOMS)), np.float32) for executable in (ours, meant))
        np.testing.assert_allclose(left, stored, rtol=0, atol=TOLERANCE * np.abs(stored).max(initial=0))


@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_however_work_is_divided(name: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One thread or several, whole or in steps, alone or beside others."""
    monkeypatch.setenv("HERON_ISA", isa)
    model, tokens = model_of(CASES[name]), np.random.default_rng(2).integers(0, VOCAB, 40).astype(np.int32)
    expected = prepare(native, model, threads=1).run("forward", batch([tokens], [0]))["logits"]
    for threads, sizes in ((3, [40]), (1, [1] * 40), (2, [2, 1, 30, 7])):
        executable, at, got = prepare(native, model, threads), 0, []
        for size in sizes:
            beside, slots = np.flip(tokens)[: at % 3], {"slot_read": [0, 4 if at else 0], "slot_write": [[0], [4]]}
            got.append(executable.run("forward", batch([beside, tokens[at : at + size]], [0, at], **slots))["logits"][len(beside) :])
            at += size
        np.testing.assert_array_equal(np.concatenate(got), expected)


@pytest.mark.parametrize("slots", [{"slot_read": [ROOMS]}, {"slot_read": [-1]}, {"slot_write": [[2, ROOMS]]}], ids=str)
def test_slots_that_there_are_not_are_refused(slots: dict[str, Any]) -> None:
    executable = prepare(native, model_of(CASES["convolution"]))
    with pytest.raises(BackendError, match=r"slot -?\d+ of sequence 0 is outside the 12 allocated"):
        executable.run("forward", batch([np.zeros(3, np.int32)], [0], **slots))


@pytest.mark.parametrize("name", [*RECURRENT, "qwen3next"])
def test_drafts_of_whole_models_as_the_reference_rolls_them_back(name: str, tmp_path: Any, recwarn: pytest.WarningsRecorder) -> None:
    """A prompt, then drafts with a snapshot after each, then others after the second draft."""
    assert name in OTHERS
    model, results = build_model(Checkpoint(make(name, tmp_path).folder)), []
    options = Options(kv_dtype="f32", activations="f32", threads=2)
    for backend in (native, reference):
        runner = parity.Runner(model, lambda m, o, backend=backend: backend.prepare(m, options=o), options, slots=5)
        slots = runner.tables["recurrent"]
        logits = [runner.step({0: parity.prompt(61, 30), 1: parity.prompt(61, 7)})]
        drafts = {"slot_write": slots[:1].astype(np.int32), "slot_offset": np.array([[1, 2, 3, 4, 5]], np.int32)}
        logits.append(runner.step({0: parity.prompt(61, 5, seed=1)}, **drafts))
        runner.done[0] = 32
        logits.append(runner.step({0: parity.prompt(61, 6, seed=2), 1: [5]}, slot_read=np.array([slots[0, 1], slots[1, 0]], np.int32)))
        results.append(np.concatenate([part["logits"] for step in logits for part in step.values()]))
    assert not [str(w.message) for w in recwarn.list if "reference kernels" in str(w.message)]
    assert parity.difference(*results) <= parity.TOLERANCE
