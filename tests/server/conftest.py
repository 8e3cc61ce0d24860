"""A model that answers in milliseconds, servers of it, and models for servers of several."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_serving import Served, serving
from two_models import ASKED, NAMES

import heron
from heron import pocket
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
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


@pytest.fixture(scope="module")
def few_objects() -> Iterator[None]:
    """Collecting garbage, which unloading does, looks at none but this file's: libraries are many objects."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pocket model; one of the same size that says other things; and a damaged file."""
    made = tmp_path_factory.mktemp("models")
    (made / "pocket.gguf").symlink_to(pocket.path())
    with Checkpoint(pocket.path()) as checkpoint:
        norm = checkpoint.tensors["output_norm.weight"].numpy()
        write_gguf(made / "turned.gguf", checkpoint.metadata, {**checkpoint.tensors, "output_norm.weight": -norm})
    (made / "broken.gguf").write_bytes(pocket.path().read_bytes()[:4096])
    return made


@pytest.fixture(scope="session")
def alone(folder: Path) -> dict[str, str]:
    """What each says to ASKED."""
    said = {}
    for name in NAMES:
        model = heron.load(folder / f"{name}.gguf", threads=1)
        said[name] = model.generate(ASKED["prompt"], temperature=0, max_tokens=24, ignore_eos=True).text
        model.close()
    assert len(set(said.values())) == 2
    return said
