"""The other backends on families whose own tests run the reference: they compute what the reference does."""

from __future__ import annotations

import warnings
from typing import Any

import parity
import pytest
from encoded import Encoded, differences
from tiny_models import ENCODERS, OTHERS, make

from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import build_model

OPTIONS = Options(kv_dtype="f32", activations="f32", threads=2)


@pytest.fixture(params=parity.OTHER_BACKENDS)
def prepare(request: pytest.FixtureRequest) -> parity.Prepare:
    def made_ready(model: Any, options: Options) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # nothing falls back to the reference
            return request.param.prepare(model, options=options)

    return made_ready


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.parametrize("made", OTHERS, indirect=True)
def test_decoders(made: parity.Tiny, prepare: parity.Prepare) -> None:
    parity.check_parity(made, prepare=prepare, options=OPTIONS)


@pytest.mark.parametrize("made", ENCODERS, indirect=True)
def test_encoders(made: parity.Tiny, prepare: parity.Prepare) -> None:
    model = build_model(Checkpoint(made.folder))
    expected = Encoded(model).results()
    assert max(differences(Encoded(model, prepare, OPTIONS).results(), expected)) <= parity.TOLERANCE
