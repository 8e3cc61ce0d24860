"""A model cut between its layers, on two executables, beside the whole one."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from adapters import adapter, matrices
from encoded import Encoded, differences
from tiny_models import ENCODERS, EVERY, make

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options
from heron.backends.pipeline import Pipeline
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import BackendError, RequestError, UnsupportedError
from heron.graph.builder import Builder
from heron.graph.dims import T
from heron.graph.graph import Field, Group, Model
from heron.graph.passes.cut import count_layers, cut
from heron.graph.passes.lora import attach
from heron.models.registry import build_model

OPTIONS = Options(kv_dtype="f32", activations="f32", threads=2)
LENGTH = 30


def on(backend: Any, options: Options) -> Any:
    return partial(backend.prepare, options=options)


def divided(layers: int, first: Any = reference, second: Any = reference) -> parity.Prepare:
    """The last ``layers`` on the second backend; the head too if there are fewer."""

    def prepare(model: Model, options: Options) -> Executable:
        count = count_layers(next(iter(model.entries.values())))
        bounds, owners = ((0,), (0, 1)) if layers > count else ((count - layers, count), (0, 1, 0))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return Pipeline(model, bounds, owners, [on(first, options), on(second, options)])

    return prepare


@pytest.fixture(scope="module", params=[*EVERY, "internlm2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


needs_core = pytest.mark.skipif(not native.available(), reason="the core is not compiled")


@pytest.mark.parametrize(
    ("first", "second", "cuts"),
    [(reference, reference, (1, 2, 99)), pytest.param(native, on_torch, (1,), marks=needs_core)],
    ids=["reference", "native and torch"],
)
def test_it_computes_what_the_whole_does(made: parity.Tiny, first: Any, second: Any, cuts: tuple[int, ...]) -> None:
    model = build_model(Checkpoint(made.folder))
    tokens = [parity.prompt(61, n, n) for n in (LENGTH, 21, 12)]
    expected = parity.ragged(parity.Runner(model), tokens)
    for layers in cuts:
        for got, right in zip(parity.ragged(parity.Runner(model, divided(layers, first, second), OPTIONS), tokens), expected, strict=True):
            assert parity.difference(got, right) <= parity.TOLERANCE


@pytest.fixture(scope="module", params=["gemma3", "mamba2", "deepseek2", "qwen3next"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    folder = make(request.param, tmp_path_factory.mktemp(request.param)).folder
    with Checkpoint(folder) as checkpoint:
        yield build_model(checkpoint)


def test_stages_have_weights_and_states_of_their_own(model: Model) -> None:
    graph = model.entries["forward"]
    count = count_layers(graph)
    first, middle, head = cut(graph, (1, count))
    assert {name.split(".")[1] for name in first.weights() if name.startswith("blk.")} == {"0"}
    assert {int(name.split(".")[1]) for name in middle.weights() if name.startswith("blk.")} == set(range(1, count))
    assert not [name for name in head.weights() if name.startswith("blk.")] and not head.states
    assert "token_embd.weight" in first.weights() and "output_norm.weight" in head.weights()
    assert {**first.states, **middle.states} == graph.states and not first.states.keys() & middle.states.keys()
    assert {**first.marks, **middle.marks, **head.marks} == graph.marks
    assert [*head.outputs] == ["logits"] and all(name.startswith("value:") for name in (*first.outputs, *middle.outputs))


def test_hidden_states_wherever_they_are_computed(model: Model) -> None:
    tokens, want = parity.prompt(61, LENGTH), [*model.entries["forward"].marks, "logits"]
    expected = parity.Runner(model).step({0: tokens}, want)[0]
    for layers in (1, 2, 99):
        runner = parity.Runner(model, divided(layers))
        got = runner.step({0: tokens}, want)[0]
        assert list(got) == want or set(got) == set(want)
        assert max(parity.difference(got[name], expected[name]) for name in want) <= parity.TOLERANCE
        alone = runner.step({1: tokens}, ["hidden:1"])[1]
        assert parity.difference(alone["hidden:1"], expected["hidden:1"]) <= parity.TOLERANCE and list(alone) == ["hidden:1"]
    with pytest.raises(RequestError, match="no output 'hidden:77'"):
        runner.step({0: tokens}, ["hidden:77"])


def test_adapters_on_both_sides(model: Model) -> None:
    adapted = attach(model, matrices(model))
    prompts = {0: parity.prompt(61, LENGTH, 3), 1: parity.prompt(60, 17, 4)}
    results = []
    for runner in (parity.Runner(adapted), parity.Runner(adapted, divided(1))):
        runner.executable.load_adapter(2, adapter(adapted, 2))
        results.append(runner.step(prompts, adapter=np.array([2, 0], np.int32)))
    for sequence in prompts:
        assert parity.difference(results[1][sequence]["logits"], results[0][sequence]["logits"]) <= parity.TOLERANCE
    with pytest.raises(UnsupportedError, match="nothing"):
        runner.executable.load_adapter(3, type(adapter(model, 1))({"nothing": (np.zeros((1, 1)), np.zeros((1, 1)))}))


def test_states_are_the_whole_models(model: Model) -> None:
    """The bytes too: a sequence begun on one goes on upon the other."""
    tokens = parity.prompt(61, LENGTH)
    here, there = parity.Runner(model, divided(2)), parity.Runner(model)
    assert sorted(here.groups, key=str) == sorted(there.groups, key=str)
    here.step({0: tokens[:20]})
    held = here.executable.memory()
    assert held["state"] == sum(g.unit_bytes * (here.tables[g.name].max() + 1) for g in here.groups)
    assert sum(g.unit_bytes for memory in here.executable.memories for g in memory.groups) == sum(g.unit_bytes for g in here.groups)
    for group in here.groups:
        units = here.tables[group.name][0].tolist()
        data = here.executable.export(group.name, units)
        assert len(data) == group.unit_bytes * len(units)
        there.executable.import_(group.name, units, data)
        assert there.executable.export(group.name, units) == data
        with pytest.raises(BackendError, match="bytes"):
            here.executable.import_(group.name, units, data[:-1])
        here.executable.copy(group.name, units[0], 0)
        assert here.executable.export(group.name, [0]) == data[: group.unit_bytes]
    copies = tuple((group.name, here.tables[group.name][0][0], here.tables[group.name][1][0]) for group in here.groups)
    results = []
    for runner in (here, there):
        runner.done[0] = 20
        results.append(runner.step({0: tokens[20:]}, copies=copies)[0]["logits"])
    assert parity.difference(*results) <= parity.TOLERANCE
    for name, _, destination in copies:
        copied = [np.frombuffer(runner.executable.export(name, [destination]), np.float32) for runner in (here, there)]
        assert np.abs(copied[1]).max() > 0
        np.testing.assert_allclose(copied[0], copied[1], rtol=1e-3, atol=1e-3)
    here.executable.close()
    assert here.executable.memory() == {"weights": 0, "state": 0, "buffers": 0}


def test_an_encoder(tmp_path: Path) -> None:
    model = build_model(Checkpoint(make("bert", tmp_path).folder))
    expected = Encoded(model).results()
    assert max(differences(Encoded(model, divided(1), OPTIONS).results(), expected)) <= parity.TOLERANCE


def test_an_encoder_and_a_decoder_are_refused(tmp_path: Path) -> None:
    assert "t5" in ENCODERS
    model = build_model(Checkpoint(make("t5", tmp_path).folder))
    with pytest.raises(UnsupportedError, match="t5 has an encoder and a decoder"):
        divided(1)(model, OPTIONS)


def sharing() -> Model:
    """Three layers, of which the last attends to what the one before it wrote, and positions that are reshaped once for all."""
    b = Builder("forward")
    x = b.reshape(b.input("positions", (1, T), "i32"), T, 1)
    assert x.dtype == "i32"
    for i in range(3):
        with b.scope(f"blk.{i}"):
            state = b.state(f"blk.{min(i, 1)}.kv", Group("full", "token"), key=Field((1, 4)), value=Field((1, 4)))
            b.kv_write(x, x, state)
    return Model("sharing", {"forward": b.finish(x=x)}, 0, 1, 1)


def test_layers_that_share_a_state_stay_together() -> None:
    graph = sharing().entries["forward"]
    assert count_layers(graph) == 3
    assert [list(stage.states) for stage in cut(graph, (1,))] == [["blk.0.kv"], ["blk.1.kv"]]
    assert [node.op for node in cut(graph, (1,))[1].nodes] == ["reshape", "kv_write", "kv_write"]
    with pytest.raises(UnsupportedError, match=r"layers 1 to 2 share the state 'blk\.1\.kv'.*in front of layer 1 or behind layer 2"):
        cut(graph, (2,))
