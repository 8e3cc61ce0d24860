"""The three passes over models with an encoder: BERT (no state, pooled vectors) and T5 (two entries, cross states)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from adapters import adapter, matrices, merged
from encoded import SOURCES, TARGETS, Encoded, differences
from ranks import in_ranks
from tiny_models import ENCODERS, make

from heron.checkpoint.checkpoint import Checkpoint
from heron.graph.graph import Model
from heron.graph.passes.lora import attach
from heron.graph.passes.shard import shard
from heron.models.registry import build_model


@pytest.fixture(scope="module", params=ENCODERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


def open_model(folder: Path) -> Model:
    return build_model(Checkpoint(folder))


@pytest.mark.covers("ranks", "reference")
def test_two_ranks_compute_what_one_does(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    expected = Encoded(model).results()
    for got in in_ranks(model, 2, lambda runner: runner.results(), Encoded):
        assert got is not None
        assert max(differences(got, expected)) <= parity.TOLERANCE
    part = shard(model, 0, 2).entries["encode"]
    assert any(node.op == "all_reduce" for node in part.nodes)


@pytest.mark.covers("adapters", "reference")
def test_two_adapters_in_one_batch_equal_merged_weights(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    adapters = {1: adapter(model, 1), 2: adapter(model, 2)}
    runner = Encoded(attach(model, matrices(model)))
    for number, each in adapters.items():
        runner.executable.load_adapter(number, each)
    chosen = (2, 0, 1)
    got = runner.results(chosen)
    alone = {number: Encoded(merged(model, adapters[number]) if number else model).results() for number in chosen}
    for i, value in enumerate(got):
        assert parity.difference(value, alone[chosen[i % 3]][i]) <= parity.TOLERANCE
    assert parity.difference(got[0], alone[0][0]) > 0.1


@pytest.mark.covers("taps", "reference")
def test_hidden_states_of_every_layer(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    encoder = made.hf.get_encoder() if "forward" in model.entries else made.hf
    with torch.no_grad():
        theirs = [encoder(torch.tensor([s]), output_hidden_states=True).hidden_states for s in SOURCES]
    names = [*(f"hidden:{i}" for i in range(len(theirs[0]) - 1)), "hidden"]  # the last one is after a norm, where there is a final one
    for i, name in enumerate(names):
        expected = [states[i][0].numpy() for states in theirs]
        assert max(differences(Encoded(model).results(want=name), expected)) <= parity.TOLERANCE


def test_hidden_states_of_every_decoder_layer(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    if "forward" not in model.entries:
        pytest.skip("it has no decoder")
    runner = Encoded(model)
    runner.results()
    runner.done = [0, 0, 0]
    names = [name for name in model.entries["forward"].marks if name.startswith("hidden:")]
    got = runner.step({1: TARGETS[1]}, want=names, cross_len=np.array([len(SOURCES[1])], np.int32))[1]
    with torch.no_grad():
        out = made.hf(input_ids=torch.tensor([SOURCES[1]]), decoder_input_ids=torch.tensor([TARGETS[1]]), output_hidden_states=True)
    assert len(names) >= len(out.decoder_hidden_states) - 1
    for name, expected in zip(names, out.decoder_hidden_states[:-1], strict=False):  # the last one is after a norm
        assert parity.difference(got[name], expected[0].numpy()) <= parity.TOLERANCE, name
