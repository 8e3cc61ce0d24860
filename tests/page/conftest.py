"""Servers of the model that answers in milliseconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from http_serving import Served, serving

import heron
from heron import pocket
from heron.engine.engine import Engine


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Engine(heron.load(pocket.path(), threads=1))) as running:
        yield running
