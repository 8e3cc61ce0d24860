"""The native backend on families whose own tests run the reference: it computes what the reference does."""

from __future__ import annotations

import warnings

import parity
import pytest
from encoded import Encoded, differences
from tiny_models import ENCODERS, OTHERS, make

from heron.backends import native
from heron.backends.base import Executable, Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.graph.graph import Model
from heron.models.registry import build_model

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")
OPTIONS = Options(kv_dtype="f32", activations="f32", threads=2)


def prepare(model: Model, options: Options) -> Executable:
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing falls back to the reference
        return native.prepare(model, options=options)


@pytest.fixture(scope="module")
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


@pytest.mark.covers("logits", "native")
@pytest.mark.parametrize("made", OTHERS, indirect=True)
def test_decoders(made: parity.Tiny) -> None:
    parity.check_parity(made, prepare=prepare, options=OPTIONS)


@pytest.mark.covers("logits", "native")
@pytest.mark.parametrize("made", ENCODERS, indirect=True)
def test_encoders(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    expected = Encoded(model).results()
    assert max(differences(Encoded(model, prepare, OPTIONS).results(), expected)) <= parity.TOLERANCE
