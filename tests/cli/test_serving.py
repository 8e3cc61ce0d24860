"""What `heron serve` makes of its command line and of the cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heron import pocket
from heron.cli.serving import catalog_of
from heron.errors import RequestError


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    paths = [tmp_path / "a.gguf", tmp_path / "b.gguf"]
    for path in paths:
        path.write_bytes(pocket.path().read_bytes())
    return list(map(str, paths))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with a model, as Hugging Face's tools lay it out."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    put(tmp_path / "hub", "org/one-GGUF", "one-Q8_0.gguf")
    return tmp_path / "hub"


def put(hub: Path, repository: str, file: str) -> None:
    folder = hub / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / ("c" * 40)
    (folder / "blobs").mkdir(parents=True)
    (folder / "refs").mkdir()
    snapshot.mkdir(parents=True)
    os.symlink(pocket.path(), folder / "blobs" / "b")
    os.symlink(folder / "blobs" / "b", snapshot / file)
    (folder / "refs" / "main").write_text("c" * 40)


def names(models: list[str], *aliases: str) -> list[tuple[str, ...]]:
    return [entry.names for entry in catalog_of(models, aliases).entries]


def test_one_model_stays_and_is_meant_by_any_name(files: list[str]) -> None:
    catalog = catalog_of(files[:1], [])
    assert catalog.otherwise is catalog.entries[0] and catalog.entries[0].pinned
    assert names(files[:1]) == [("a",)]
    assert names(files[:1], "x", "y") == [("x", "y")]


def test_several_are_loaded_on_demand(files: list[str]) -> None:
    catalog = catalog_of(files, [])
    assert catalog.otherwise is None and not any(entry.pinned for entry in catalog.entries)
    assert names(files) == [("a",), ("b",)]
    assert names(files, "x", "y") == [("x",), ("y",)]
    assert names(files, f"x={files[1]}", "z=b") == [("a",), ("x", "z")]


def test_all_that_is_here(hub: Path) -> None:
    catalog = catalog_of([], ["mine=org/one-GGUF"])
    assert [entry.names for entry in catalog.entries] == [("pocket",), ("mine",)]
    put(hub, "org/two-GGUF", "two-Q4_0.gguf")
    assert catalog.find("org/two-GGUF") is None
    catalog.rescan()
    found = catalog.find("org/two-GGUF")
    assert found is not None and found.name == "org/two-GGUF:Q4_0" and found.path.is_file()
    assert catalog.find("mine") is catalog.find("org/one-GGUF:Q8_0")


@pytest.mark.parametrize(
    ("chosen", "aliases", "said"),
    [
        ("ab", ("x",), "NAME=MODEL"),
        ("ab", ("x", "y", "z"), "NAME=MODEL"),
        ("ab", ("x", "y=b"), "NAME=MODEL"),
        ("", ("x",), "all models of the cache"),
        ("ab", ("x=c",), "no such model is served; there are a, b"),
        ("a", ("x=b",), "no such model"),
        ("ab", ("x=a", "x=b"), "twice"),
        ("ab", ("=a",), "empty"),
        ("a", ("",), "empty"),
        ("ab", ("b=a",), "called so twice"),
        ("aa", (), "named twice"),
    ],
)
def test_what_makes_no_sense(files: list[str], hub: Path, chosen: str, aliases: tuple[str, ...], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        catalog_of([files["ab".index(letter)] for letter in chosen], aliases)


def test_two_that_are_called_the_same(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "a.gguf"
    other.write_bytes(pocket.path().read_bytes())
    with pytest.raises(RequestError, match="tell them apart with --alias"):
        catalog_of([files[0], str(other)], [])
    assert names([files[0], str(other)], f"x={other}") == [("a",), ("x",)]
