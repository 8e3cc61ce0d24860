"""A model that answers in milliseconds, and servers of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_serving import Served, serving

import heron
from heron import pocket
from heron.engine.engine import Engine
from heron.engine.model import Model


@pytest.fixture(scope="session")
def model() -> Model:
    return heron.load(pocket.path(), threads=1)


@pytest.fixture
def another() -> Iterator[Model]:
    """Beside ``served``, whose engine has the other one."""
    loaded = heron.load(pocket.path(), threads=1)
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[Served]:
    """A server as it is without options, for tests that leave it as it was."""
    with serving(Engine(model)) as running:
        yield running
