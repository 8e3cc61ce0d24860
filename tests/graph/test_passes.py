"""Three passes over every family: ranks that share a model, adapters in one batch, hidden states of any layer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest
import torch
from adapters import adapter, matrices, merged
from ranks import in_ranks
from tiny_models import EVERY, make

from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import UnsupportedError
from heron.graph.graph import Model
from heron.graph.passes.lora import attach
from heron.graph.passes.shard import shard
from heron.models.registry import build_model

LENGTH = 30

#: Of which layer transformers' first hidden states are the input; of state space models it leaves the embeddings out.
FIRST = {"mamba": 1, "falcon_mamba": 1, "mamba2": 1}


@pytest.fixture(scope="module", params=[*EVERY, "internlm2"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


def open_model(folder: Path) -> Model:
    return build_model(Checkpoint(folder))


@pytest.mark.covers("ranks", "reference")
def test_two_ranks_compute_what_one_does(made: parity.Tiny) -> None:
    model, tokens = open_model(made.folder), parity.prompt(61, LENGTH)
    expected = made.expected(tokens)
    for way in (parity.whole, parity.one_by_one):
        for got in in_ranks(model, 2, lambda runner, way=way: way(runner, tokens)):
            assert got is not None
            assert parity.difference(got, expected) <= parity.TOLERANCE


def held(model: Model) -> int:
    return sum(weight.tensor.nbytes for graph in model.entries.values() for weight in graph.weights().values())


def test_a_rank_holds_about_half(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    part = shard(model, 0, 2)
    rest = sum(w.tensor.nbytes for w in model.entries["forward"].weights().values() if w.role == "whole" or "token_embd" in w.name)
    assert held(part) - rest <= 0.72 * (held(model) - rest)
    assert any(node.op == "all_reduce" for node in part.entries["forward"].nodes)


@pytest.mark.covers("adapters", "reference")
def test_two_adapters_in_one_batch_equal_merged_weights(made: parity.Tiny) -> None:
    model = open_model(made.folder)
    adapters = {1: adapter(model, 1), 2: adapter(model, 2)}
    runner = parity.Runner(attach(model, matrices(model)))
    for number, each in adapters.items():
        runner.executable.load_adapter(number, each)
    prompts = {0: parity.prompt(61, LENGTH, 3), 1: parity.prompt(61, 17, 4), 2: parity.prompt(61, 8, 5)}
    got = runner.step(prompts, adapter=np.array([2, 0, 1], np.int32))
    for sequence, number in ((0, 2), (1, 0), (2, 1)):
        alone = parity.Runner(merged(model, adapters[number]) if number else model)
        expected = parity.whole(alone, prompts[sequence])
        assert parity.difference(got[sequence]["logits"], expected) <= parity.TOLERANCE
    assert parity.difference(got[0]["logits"], parity.whole(parity.Runner(model), prompts[0])) > 0.1


def test_an_adapter_for_what_is_not_there_is_refused(made: parity.Tiny) -> None:
    with pytest.raises(UnsupportedError, match=r"blk\.99\.attn_q\.weight"):
        attach(open_model(made.folder), ["blk.99.attn_q.weight"])


@pytest.mark.covers("taps", "reference")
def test_hidden_states_of_every_layer(made: parity.Tiny) -> None:
    model, tokens = open_model(made.folder), parity.prompt(61, LENGTH)
    with torch.no_grad():
        states = made.hf(torch.tensor([tokens]), use_cache=False, output_hidden_states=True).hidden_states
    layers = len(states) - 1
    first = FIRST.get(made.hf.config.model_type, 0)
    names = [f"hidden:{i}" for i in range(first, first + layers)] + ["normed"]  # transformers' last one is after the final norm
    got = parity.Runner(model).step({0: tokens}, want=names)[0]
    for name, expected in zip(names, states, strict=True):
        assert parity.difference(got[name], expected[0].numpy()) <= parity.TOLERANCE, name
