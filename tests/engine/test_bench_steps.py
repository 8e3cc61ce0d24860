"""What a benchmark computes, and what its figures are made of; and steps of many sequences in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tiny_models import make
from tiny_word_pieces import write_word_pieces

import heron
from heron.backends.batch import Batch
from heron.engine import bench
from heron.engine.bench import Bench
from heron.engine.cache import Cache, Sequence, last_row, next_step, reading_step, units_for


class Clock:
    """Steps take a second, and half a millisecond a token: seen by the clock that the benchmark reads."""

    def __init__(self, model: heron.Model, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[Batch] = []
        self.now = 0.0
        self._run = model.executable.run
        monkeypatch.setattr(model.executable, "run", self.run)
        monkeypatch.setattr(bench, "time", SimpleNamespace(perf_counter=lambda: self.now))

    def run(self, entry: str, batch: Batch, want: Any = ("logits",)) -> Any:
        self.steps.append(batch)
        self.now += 1 + len(batch.tokens) / 2000
        return self._run(entry, batch, want)


def loaded(name: str, to: Path, backend: str = "reference") -> heron.Model:
    made = make(name, to)
    write_word_pieces(made.folder)
    return heron.load(made.folder, backend=backend, ctx_size=700)


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> heron.Model:
    return loaded("llama", tmp_path_factory.mktemp("llama"))


def test_figures_are_tokens_by_seconds(llama: heron.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, ticks = Clock(llama, monkeypatch), []
    prefill, few, many = Bench(llama, 13, 4).measure(10, [3, 1], 4, 2, lambda: ticks.append(1))
    assert prefill.each == pytest.approx(2 * [40 / 1.02]) and len(ticks) == 2
    assert (few.tokens, few.each) == (1, pytest.approx(2 * [4 / 1.002]))
    assert (many.tokens, many.each) == (3, pytest.approx(2 * [12 / 3.006]))
    assert [len(step.tokens) for step in clock.steps] == 2 * [40, 4, 4, 4]
    assert [len(step.rows) for step in clock.steps] == 2 * [4, 4, 4, 4]
    assert clock.steps[3].context_len.tolist() == [13, 13, 13, 13]


def test_long_prompts_are_read_in_chunks(llama: heron.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(llama, monkeypatch)
    Bench(llama, 600, 2).measure(600, [], 2, 1, lambda: None)
    assert [len(step.tokens) for step in clock.steps] == [512, 88, 512, 88]
    assert [len(step.rows) for step in clock.steps] == [0, 1, 0, 1]
    clock.steps.clear()
    Bench(llama, 200, 4).measure(200, [], 4, 1, lambda: None)
    assert [len(step.tokens) for step in clock.steps] == [400, 400]


def test_the_same_seed_gives_the_same_tokens(llama: heron.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(llama, monkeypatch)
    for seed in (1, 1, 2):
        Bench(llama, 10, 1, seed).measure(8, [], 1, 1, lambda: None)
    first, again, other = (step.tokens.tolist() for step in clock.steps)
    assert first == again != other


@pytest.mark.parametrize("name", ["llama", "gemma3", "mamba", "t5"])
def test_steps_of_many_compute_what_each_does(name: str, tmp_path: Path) -> None:
    """Prompts of different lengths (one longer than gemma3's window), then a token each: the same bits, natively."""
    pytest.importorskip("heron._core")
    model = loaded(name, tmp_path, "native")
    groups, executable, random = model.executable.state_groups, model.executable, np.random.default_rng(0)
    units = {group.name: 4 * units_for(group, 60, 60) for group in groups}
    prompts = [random.integers(0, model.graph_model.vocab_size, n).tolist() for n in (40, 1, 7)]

    def answers(together: bool) -> np.ndarray:
        executable.allocate(units)
        cache, found = Cache(groups, units), []
        sequences = [Sequence(cache) for _ in prompts]

        def run(entry: str, want: str, make: Callable[..., Batch], parts: list[tuple]) -> None:
            for group in [parts] if together else [[part] for part in parts]:
                found.append(executable.run(entry, make(group), (want,))[want])

        if "encode" in model.graph_model.entries:
            run("encode", "hidden", reading_step, list(zip(sequences, prompts, strict=True)))
        for end in (None, 1):
            parts = [prompt[:end] for prompt in prompts]
            run("forward", "logits", next_step, [(s, part, last_row(part)) for s, part in zip(sequences, parts, strict=True)])
        return np.concatenate([part.ravel() for part in found])

    assert (answers(True) == answers(False)).all()
