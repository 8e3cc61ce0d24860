"""Every decoder family against transformers, on every backend, from a folder and from a GGUF file."""

from __future__ import annotations

from typing import Any

import parity
import pytest
from tiny_models import DECODERS

from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.models.registry import build_model


@pytest.fixture(scope="module", params=DECODERS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(DECODERS[request.param](), tmp_path_factory.mktemp(request.param))


@pytest.mark.covers("logits", "reference")
def test_every_way_of_computing_gives_transformers_logits(made: parity.Tiny) -> None:
    parity.check_parity(made)


@pytest.mark.parametrize("backend", parity.OTHER_BACKENDS)
def test_the_other_backends_compute_the_same(made: parity.Tiny, backend: Any) -> None:
    options = Options(kv_dtype="f32", activations="f32", threads=1)
    parity.check_parity(made, prepare=lambda model, options: backend.prepare(model, options=options), options=options)


def test_attention_is_sharp_enough_to_see(made: parity.Tiny) -> None:
    assert made.sharpness(parity.prompt(67, 40)) >= 1


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    assert parity.check_sensitive(made)


@pytest.mark.covers("GGUF", "reference")
def test_written_as_gguf_it_computes_the_same(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    path = made.folder / "written.gguf"
    write_gguf(path, checkpoint.metadata, checkpoint.tensors)
    tokens = parity.prompt(67, 40)
    expected = made.expected(tokens)
    model = build_model(Checkpoint(path))
    assert parity.difference(parity.whole(parity.Runner(model), tokens), expected) <= parity.TOLERANCE
