"""Decode steps that are recorded and replayed. On a CPU the recorder calls the recorded function again: on the same tensors, of which the
host knows nothing but shapes. With HERON_TEST_DEVICE=cuda it is CUDA's own."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from device import DEVICE
from ranks import in_ranks
from tiny_gguf import write_tiny
from tiny_models import make
from toy import BLOCK, Sequences, toy

import heron
from heron.backends import reference
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.backends.torch import capture, replay
from heron.backends.torch.executable import TorchExecutable
from heron.checkpoint.checkpoint import Checkpoint
from heron.engine.engine import Engine
from heron.graph.graph import Model
from heron.models.registry import build_model


class Again:
    """Records by keeping the function, which replays call; where there is another recorder (on CUDA), by that."""

    def __init__(self, real: capture.Capture | None = None) -> None:
        self.recorded, self.replayed, self.real = 0, 0, real

    @property
    def nbytes(self) -> int:
        return self.real.nbytes if self.real else 0

    def clear(self) -> None:
        if self.real:
            self.real.clear()

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        again = function
        if self.real:
            again = self.real.capture(function)
        else:
            function()
        self.recorded += 1

        def replay() -> None:
            self.replayed += 1
            again()

        return replay


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> Again:
    recorder = Again(capture.recorder(torch.device(DEVICE)))
    monkeypatch.setattr(capture, "recorder", lambda device: recorder)
    return recorder


@pytest.fixture(scope="module", params=["llama", "gemma3", "deepseek2", "qwen3next", "mamba2", "qwen3moe"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    with Checkpoint(made.folder) as checkpoint:
        yield build_model(checkpoint)


def prepare(model: Model, options: Options) -> TorchExecutable:
    return on_torch.prepare(model, options=options)


PROMPTS = {0: parity.prompt(60, 40, 3), 1: parity.prompt(60, 9, 4), 2: parity.prompt(60, 70, 5)}


def decode(runner: parity.Runner, steps: list[list[int]], each: int = 1) -> list[np.ndarray]:
    """Prompts, then steps that continue these sequences by as many tokens each; the logits of the steps."""
    runner.step(PROMPTS)
    more = {s: iter(parity.prompt(60, 100, 10 + s)) for s in PROMPTS}
    found = []
    for sequences in steps:
        parts = {s: [next(more[s]) for _ in range(each)] for s in sequences}
        found += [part["logits"] for part in runner.step(parts).values()]
    return found


#: Steps, and what the numbers of their sequences are padded to.
STEPS = [[0], [0, 1, 2], [2, 0], [1, 2, 0], [1], [0, 1, 2]]
PADDED = [1, 4, 2, 4, 1, 4]


def recordable(model: Model, tokens: int) -> bool:
    """torch's own kernel asks the device how many rows each expert has, unless there are at most as many rows as experts."""
    nodes = [node for node in model.entries["forward"].nodes if node.op == "expert_linear"]
    return all(tokens * int(node.inputs[1].shape[1]) <= node.weights[0].shape[0] for node in nodes if node.weights[0])


@pytest.mark.parametrize("each", [1, 3])
def test_replayed_steps_compute_what_the_reference_does(model: Model, again: Again, each: int) -> None:
    got, expected = (np.concatenate(decode(parity.Runner(model, by), STEPS, each)) for by in (prepare, parity.reference_backend))
    assert parity.difference(got, expected) <= parity.TOLERANCE
    sizes = [size for size in PADDED if recordable(model, size * each)]
    assert (again.recorded, again.replayed) == (len(set(sizes)), len(sizes))


@pytest.mark.parametrize("name", ["llama3", "gemma3", "qwen3next", "mamba2", "deepseek2", "mixtral", "t5"])
def test_an_engine_answers_as_without_recordings(name: str, again: Again, tmp_path: Path) -> None:
    """Prompts and decoded tokens in all mixtures, sampled on the device and chained, windows that slide, states that are resumed."""
    made: parity.Tiny = make(name, tmp_path)
    answers, path = [], write_tiny(made.folder)
    prompts = [parity.prompt(60, length, length) for length in (5, 40, 17, 1, 30, 22, 9)]
    for cuda_graphs in (True, False):
        model = heron.load(path, backend="torch", device="cpu", threads=1, ctx_size=128, kv_dtype="f32", cuda_graphs=cuda_graphs)
        with Engine(model, max_seqs=5, step_tokens=16) as engine:
            how = [{"max_tokens": 10 + 3 * i, "temperature": 0.9 * (i % 2), "seed": i, "ignore_eos": True} for i in range(len(prompts))]
            handles = [engine.submit(prompt, **each) for prompt, each in zip(prompts, how, strict=True)]
            while engine.step():
                pass
            answers.append([handle.result().tokens for handle in handles])
        model.close()
    assert answers[0] == answers[1]
    assert again.replayed > 2 * again.recorded >= 4


def test_padding_touches_null_units_alone(model: Model, again: Again) -> None:
    """All that no sequence wrote is NaN before and after, and nobody reads it; in the null units anything may lie."""
    runner = parity.Runner(model, prepare, slots=2)
    assert isinstance(runner.executable, TorchExecutable) and runner.executable._states is not None
    stores = runner.executable._states.fields
    for store in stores.values():
        store.data.fill_(torch.nan)
    got, expected = (np.concatenate(decode(each, STEPS)) for each in (runner, parity.Runner(model)))
    assert parity.difference(got, expected) <= parity.TOLERANCE
    assert again.replayed == sum(recordable(model, size) for size in PADDED)
    for (state, _), store in stores.items():
        group, table = model.groups[model.states[state].group], runner.tables[model.states[state].group]
        written = torch.zeros(len(store.data), dtype=torch.bool)
        size = 1 if group.kind == "slot" else group.block_size
        written[:size] = True
        for blocks, done in zip(table, runner.done, strict=True):
            entries = (blocks[:, None] * size + np.arange(size)).ravel()
            written[torch.from_numpy(entries[: 1 if group.kind == "slot" else done]).long()] = True
        assert store.data[~written].isnan().all() and not written.all()
        assert store.data[written][size:].isfinite().all()


# Which steps share a recording


def ints(*values: object) -> np.ndarray:
    return np.array(values, np.int32)


def step(count: int, each: int = 1, width: int = 3, **fields: object) -> Batch:
    made = {
        "tokens": np.full(count * each, 7, np.int32),
        "query_start": np.arange(count + 1, dtype=np.int32) * each,
        "context_len": np.full(count, 11, np.int32),
        "rows": np.arange(count * each, dtype=np.int32),
        "tables": {"full": np.ones((count, width), np.int32)},
    }
    return Batch(**(made | fields))


def test_sizes_are_rounded_up() -> None:
    def shape(*size: int) -> replay.Shape:
        found = replay.Shape.of(step(*size))
        assert found is not None
        return found

    assert [shape(n).sequences for n in (1, 2, 3, 5, 8, 9, 17, 250, 256)] == [1, 2, 4, 8, 8, 16, 24, 256, 256]
    assert [shape(1, 1, width).widths[0][1] for width in (1, 64, 65, 128, 1000)] == [64, 64, 128, 128, 1024]
    assert shape(3, 2) == shape(4, 2, 60) != shape(4, 3)
    assert shape(3, 2).padding({}).symbols == {"T": 8, "R": 8, "S": 4, "P": 1}


@pytest.mark.parametrize(
    "fields",
    [
        {"rows": ints(1)},
        {"rows": ints(1, 0)},
        {"query_start": ints(0, 0, 2)},
        {"adapter": ints(0, 3)},
        {"parents": ints(-1, -1)},
        {"embeds": np.zeros((1, 4), np.float32), "embed_rows": ints(1)},
        {"slot_write": ints([1], [2]), "slot_offset": ints([0], [1])},
        {"given": {"hidden": np.zeros((2, 4), np.float32)}},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_is_not_replayed(fields: dict[str, object]) -> None:
    assert replay.Shape.of(step(2)) is not None
    assert replay.Shape.of(step(2, **fields)) is None  # type: ignore[arg-type]


def test_sizes_that_are_not_replayed() -> None:
    assert replay.Shape.of(step(257)) is None
    assert replay.Shape.of(step(1, replay.MOST_TOKENS)) is not None and replay.Shape.of(step(1, replay.MOST_TOKENS + 1)) is None
    assert replay.Shape.of(step(2, slot_write=ints([1, 0], [2, 3]), slot_offset=ints([1, 0], [0, 1]))) is None
    saved = replay.Shape.of(step(2, slot_write=ints([1, 0], [2, 3])))
    assert saved is not None and saved.saves == (1, 1)


def test_a_wider_table_is_another_recording(again: Again, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "LEAST_WIDTH", 2)
    model, tokens = toy(), [np.arange(3, 60, dtype=np.int32)]
    sequences, recorded = Sequences(prepare(model, Options(kv_dtype="f32")), model, tokens), []
    plain = Sequences(prepare(model, Options(kv_dtype="f32", cuda_graphs=False)), model, tokens)
    for _ in range(20):
        batch, twin = sequences.batch({0: 1}), plain.batch({0: 1})
        used = -(-int(batch.context_len[0]) // BLOCK)
        tables = {name: table[:, :used] for name, table in batch.tables.items()}
        got, expected = sequences.executable.run("forward", replace(batch, tables=tables)), plain.executable.run("forward", twin)
        assert parity.difference(got["logits"], expected["logits"]) <= parity.TOLERANCE
        recorded.append(again.recorded)
    assert recorded == [1] * 8 + [2] * 8 + [3] * 4


# What becomes of recordings


def test_new_states_are_recorded_anew(model: Model, again: Again) -> None:
    runner, held = parity.Runner(model, prepare), []
    for steps in ([], [[0], [0]], [[1, 2]]):
        decode(runner, steps)
        held.append(runner.executable.memory()["buffers"])
    assert again.recorded == 2 and held[0] == 0 < held[1] < held[2]
    runner.executable.allocate({name: table.size + 1 for name, table in runner.tables.items()})
    assert runner.executable.memory()["buffers"] == 0
    runner.done = [0] * 3
    decode(runner, [[0], [0]])
    assert again.recorded == 3 and 0 < runner.executable.memory()["buffers"] < held[2]
    runner.executable.close()
    assert runner.executable.memory() == {"weights": 0, "state": 0, "buffers": 0}


def test_other_outputs_are_recorded_apart(again: Again) -> None:
    model = toy()
    tokens = [np.arange(3, 60, dtype=np.int32)]
    sequences, reference_ = (
        Sequences(each.prepare(model, options=Options(kv_dtype="f32")), model, tokens) for each in (on_torch, reference)
    )
    for want in (("logits",), ("hidden:1",), ("logits",), ("hidden:1",)):
        got, expected = (each.run({0: 1}, want)[0] for each in (sequences, reference_))
        assert parity.difference(got, expected) <= parity.TOLERANCE
    assert again.recorded == 2 and again.replayed == 4


def test_a_result_outlives_the_next_step(again: Again) -> None:
    """Recordings share the memory of their results, which a ticket must not read late."""
    model = toy()
    sequences = Sequences(prepare(model, Options(kv_dtype="f32")), model, [np.arange(3, 60, dtype=np.int32)])
    first = sequences.executable.submit("forward", sequences.batch({0: 1}))
    second = sequences.executable.submit("forward", sequences.batch({0: 1}))
    kept = first.result()["logits"].copy()
    assert np.abs(second.result()["logits"] - kept).max() > 0.1
    twin = Sequences(prepare(model, Options(kv_dtype="f32", cuda_graphs=False)), model, [np.arange(3, 60, dtype=np.int32)])
    assert parity.difference(kept, twin.run({0: 1})[0]) <= parity.TOLERANCE


def test_damage_is_seen_in_its_row(again: Again) -> None:
    made = toy()
    sequences = Sequences(prepare(made, Options(kv_dtype="f32")), made, [np.full(9, 5 + i, np.int32) for i in range(2)])
    assert isinstance(sequences.executable, TorchExecutable) and sequences.executable._states is not None
    sequences.run({0: 2, 1: 3})
    store = next(iter(sequences.executable._states.fields.values()))
    store.data[int(sequences.blocks[1][0]) * BLOCK] = torch.nan
    result = sequences.executable.run("forward", sequences.batch({0: 1, 1: 1}))
    assert again.replayed == 1 and result.nonfinite.tolist() == [False, True]


def test_what_cannot_be_recorded_runs_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Again):
        def capture(self, function: Callable[[], None]) -> Callable[[], None]:
            self.recorded += 1
            raise RuntimeError("operation not permitted when stream is capturing")

    recorder, model = Broken(), toy()
    monkeypatch.setattr(capture, "recorder", lambda device: recorder)
    tokens = [np.arange(3, 60, dtype=np.int32)]
    broken = Sequences(prepare(model, Options(kv_dtype="f32")), model, tokens)
    plain = Sequences(prepare(model, Options(kv_dtype="f32", cuda_graphs=False)), model, tokens)
    with pytest.warns(UserWarning, match="not permitted when stream is capturing"):
        got = broken.run({0: 1})[0]
    np.testing.assert_array_equal(got, plain.run({0: 1})[0])
    broken.run({0: 1}, ("hidden:1",))
    assert recorder.recorded == 1


def test_ranks_are_not_recorded(model: Model, again: Again) -> None:
    tokens = parity.prompt(60, 6)
    expected = parity.one_by_one(parity.Runner(model), tokens)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for got in in_ranks(model, 2, lambda runner: parity.one_by_one(runner, tokens), backend=on_torch):
            assert parity.difference(got, expected) <= parity.TOLERANCE
    assert again.recorded == again.replayed == 0
