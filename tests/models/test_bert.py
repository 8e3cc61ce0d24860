"""BERT on the reference backend against transformers: hidden states and pooled vectors of a ragged batch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from tiny_models import ENCODERS

from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.errors import HeronError, UnsupportedError
from heron.graph.graph import Model
from heron.models.builder import Weights
from heron.models.params import Params
from heron.models.registry import FAMILIES, build_model

LENGTHS = (17, 1, 30)
SENTENCES = [parity.prompt(61, length, seed) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    config, auto, sharp = ENCODERS["bert"]()
    return parity.tiny(config, tmp_path_factory.mktemp("bert"), auto=auto, sharp=sharp)


def expected(made: parity.Tiny) -> list[Any]:
    with torch.no_grad():
        return [made.hf(torch.tensor([s]), output_hidden_states=True) for s in SENTENCES]


def encode(model: Model, want: tuple[str, ...] = ("hidden", "pooled")) -> dict[str, parity.Logits]:
    executable = parity.reference_backend(model, Options())
    executable.allocate({})
    starts = np.cumsum([0, *LENGTHS]).astype(np.int32)
    batch = Batch(np.concatenate(SENTENCES).astype(np.int32), starts, np.array(LENGTHS, np.int32), np.zeros(0, np.int32))
    return dict(executable.run("encode", batch, want).arrays)


@pytest.mark.covers("logits", "reference")
def test_a_ragged_batch_gives_transformers_hidden_states(made: parity.Tiny) -> None:
    got = encode(build_model(Checkpoint(made.folder)), ("hidden", "hidden:1"))
    theirs = expected(made)
    whole = np.concatenate([t.last_hidden_state[0].numpy() for t in theirs])
    assert parity.difference(got["hidden"], whole) <= parity.TOLERANCE
    first = np.concatenate([t.hidden_states[1][0].numpy() for t in theirs])
    assert parity.difference(got["hidden:1"], first) <= parity.TOLERANCE


@pytest.mark.parametrize(("kind", "pool"), [(1, lambda h: h.mean(0)), (2, lambda h: h[0]), (3, lambda h: h[-1])])
def test_pooling(made: parity.Tiny, kind: int, pool: Any) -> None:
    checkpoint = Checkpoint(made.folder)
    params = Params(dict(checkpoint.metadata) | {"bert.pooling_type": kind}, "bert")
    got = encode(FAMILIES["bert"](params).model(params, Weights(checkpoint)))["pooled"]
    theirs = np.stack([pool(t.last_hidden_state[0].numpy()) for t in expected(made)])
    assert parity.difference(got, theirs) <= parity.TOLERANCE


@pytest.mark.covers("GGUF", "reference")
def test_written_as_gguf_it_computes_the_same(made: parity.Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint(made.folder)
    write_gguf(tmp_path / "bert.gguf", checkpoint.metadata, checkpoint.tensors)
    again = encode(build_model(Checkpoint(tmp_path / "bert.gguf")))
    for name, array in encode(build_model(checkpoint)).items():
        assert (again[name] == array).all()


def test_attention_is_sharp_enough_to_see(made: parity.Tiny) -> None:
    assert made.sharpness(SENTENCES[2]) >= 1


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    params = Params(checkpoint.metadata, "bert")
    FAMILIES["bert"](params).model(params, Weights(checkpoint))
    right = encode(build_model(checkpoint))
    for key in sorted(params.seen):
        changed = Params(dict(checkpoint.metadata) | {key: parity.perturbed(checkpoint.metadata[key])}, "bert")
        try:
            got = encode(FAMILIES["bert"](changed).model(changed, Weights(checkpoint)))
        except HeronError:
            continue
        assert max(parity.difference(got[n], right[n]) for n in right) > 10 * parity.TOLERANCE, key


def test_what_it_does_not_compute_is_refused(made: parity.Tiny) -> None:
    params = Params(dict(Checkpoint(made.folder).metadata) | {"bert.pooling_type": 4}, "bert")
    with pytest.raises(UnsupportedError, match="pooling_type 4"):
        FAMILIES["bert"](params)


def test_its_states_are_none(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    assert not model.states and not model.traits.causal
