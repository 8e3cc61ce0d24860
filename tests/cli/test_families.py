"""`heron info`, and `heron run` or `heron embed`, on a GGUF file of every family."""

from __future__ import annotations

import parity
import pytest
from tiny_encoders import BERTS
from tiny_gguf import check_commands, check_embed_command
from tiny_models import EVERY, make

from heron.backends import native

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp("tiny"))


@pytest.mark.covers("command", "native")
@pytest.mark.parametrize("made", [*EVERY, "t5"], indirect=True)
def test_the_commands(made: parity.Tiny) -> None:
    check_commands(made)


@pytest.mark.covers("command", "native")
@pytest.mark.parametrize("made", BERTS, indirect=True)
def test_encoders_embed(made: parity.Tiny) -> None:
    check_embed_command(made)
