"""The cache as other programs and earlier pulls leave it: what is listed, run and deleted."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import heron
from heron import pocket
from heron.hub import cache as disk
from heron.hub.names import Name
from heron.hub.pull import locate

FIRST, SECOND = "1" * 40, "2" * 40
DAY = 86400


def add(cache: Path, repository: str, files: dict[str, bytes], commit: str = FIRST) -> Path:
    """Files in a snapshot, as huggingface_hub lays them out."""
    folder = disk.repository_folder(cache, repository)
    for name, data in files.items():
        blob, link = folder / "blobs" / f"{hash(data):064x}", folder / "snapshots" / commit / name
        for path in (blob, link):
            path.parent.mkdir(parents=True, exist_ok=True)
        blob.write_bytes(data)
        link.symlink_to(os.path.relpath(blob, link.parent))
    (folder / "refs").mkdir(exist_ok=True)
    (folder / "refs" / "main").write_text(commit)
    return folder


def names(cache: Path) -> list[str]:
    return [str(each.name) for each in disk.models(cache)]


def command(cache: Path, *args: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1"}
    return subprocess.run([sys.executable, "-m", "heron", *args], capture_output=True, text=True, timeout=60, env=environment)


FOLDER = {"config.json": b"{}", "tokenizer.json": b"t", "model.safetensors": b"w" * 100}


def test_a_repository_without_an_organization(tmp_path: Path) -> None:
    """As transformers fetches gpt2. Names of nothing that is here are none, as ever."""
    add(tmp_path, "gpt2", FOLDER)
    assert names(tmp_path) == ["gpt2"] and disk.named("gpt2", tmp_path) == Name("gpt2")
    assert locate("gpt2", tmp_path) == disk.models(tmp_path)[0].path
    assert disk.named("gpt3", tmp_path) is None and disk.named("../gpt2", tmp_path) is None
    assert disk.called(tmp_path / "models--gpt2" / "snapshots" / FIRST) == "gpt2"
    disk.delete(disk.matching(Name("gpt2"), tmp_path), tmp_path)
    assert not names(tmp_path)


def test_it_runs_by_that_name(tmp_path: Path) -> None:
    add(tmp_path, "small", {"small-Q8_0.gguf": pocket.path().read_bytes()})
    assert command(tmp_path, "run", "small", "-p", "Hi", "-n", "1").returncode == 0
    assert "deleted small:Q8_0" in command(tmp_path, "delete", "small:q8_0", "--yes").stderr and not names(tmp_path)


def test_each_name_that_is_listed_means_one_model(tmp_path: Path) -> None:
    add(tmp_path, "org/both", FOLDER | {"m-Q8_0.gguf": b"8", "m-Q4_0.gguf": b"4", "one/m.gguf": b"1", "old/m-Q4_0.gguf": b"5"})
    named = ["org/both:m-Q4_0", "org/both:old/m-Q4_0", "org/both:Q8_0", "org/both:m", "org/both:safetensors"]
    assert names(tmp_path) == named
    for model in disk.models(tmp_path):
        assert disk.find(model.name, tmp_path) == model.path
        assert [each.name for each in disk.matching(model.name, tmp_path)] == [model.name]
    (folder,) = disk.matching(Name("org/both", "safetensors"), tmp_path)
    disk.delete([folder], tmp_path)
    assert names(tmp_path) == named[:-1] and len(list(tmp_path.glob("models--*/blobs/*"))) == 4


def test_a_model_in_two_revisions_is_one_and_is_deleted_as_one(tmp_path: Path) -> None:
    """With other files beside the weights, and the weights themselves shared."""
    add(tmp_path, "org/m", FOLDER | {"m-Q8_0.gguf": b"8"})
    add(tmp_path, "org/m", FOLDER | {"chat_template.jinja": b"c", "config.json": b"{1}"}, SECOND)
    folder, kept = disk.models(tmp_path)  # the newer revision's first
    assert [str(each.name) for each in (folder, kept)] == ["org/m:safetensors", "org/m:Q8_0"]
    assert folder.bytes == 100 + 1 + 2 + 3 + 1 and folder.path == tmp_path / "models--org--m" / "snapshots" / SECOND
    disk.delete([folder], tmp_path)
    assert names(tmp_path) == ["org/m:Q8_0"] and [each.read_bytes() for each in tmp_path.glob("models--*/blobs/*")] == [b"8"]


def test_parts_that_came_before_a_pull_was_killed_are_listed_and_deleted(tmp_path: Path) -> None:
    """Between two files: there is nothing incomplete, and nothing that a snapshot names."""
    folder = add(tmp_path, "org/m", {"m-Q8_0.gguf": b"8"})
    (folder / "blobs" / ("a" * 64)).write_bytes(b"x" * 1000)
    whole, cut = disk.models(tmp_path)
    assert (whole.bytes, cut.bytes, cut.path) == (1, 1000, None)
    disk.delete(disk.matching(Name("org/m", "Q8_0"), tmp_path), tmp_path)
    assert [each.bytes for each in disk.models(tmp_path)] == [1000]
    disk.delete(disk.matching(Name("org/m"), tmp_path), tmp_path)
    assert not list(tmp_path.glob("models--*"))


def test_to_look_at_a_model_is_not_to_use_it(tmp_path: Path) -> None:
    """Most systems note a first reading after a day, heron list's own too."""
    add(tmp_path, "org/m", {"m-Q8_0.gguf": pocket.path().read_bytes()})
    blob = next(tmp_path.glob("models--*/blobs/*"))
    long_ago = time.time() - 3 * DAY
    os.utime(blob, (long_ago, long_ago - DAY))
    for _ in range(2):
        assert "3 days ago" in command(tmp_path, "list").stdout
    from heron.server.catalog import Catalog, Entry

    Catalog(lambda: [Entry(("m",), disk.models(tmp_path)[0].path or tmp_path)]).survey()
    assert "3 days ago" in command(tmp_path, "list").stdout
    assert command(tmp_path, "run", "org/m", "-p", "Hi", "-n", "1").returncode == 0
    assert "just now" in command(tmp_path, "list").stdout


def test_names_stay_whole_in_a_pipe(tmp_path: Path) -> None:
    name = "organization/A-Model-With-A-Name-That-Is-Longer-Than-Others-30B-A3B-Instruct-2507-GGUF:UD-Q4_K_XL"
    add(tmp_path, name.partition(":")[0], {"m-UD-Q4_K_XL.gguf": b"4"})
    listed = command(tmp_path, "list").stdout.splitlines()
    assert len(listed) == 2 and listed[1].split()[:4] == [name, "UD-Q4_K_XL", "1", "B"]
    assert not [line for line in listed if line != line.rstrip()]


@pytest.mark.skipif(sys.platform == "win32", reason="files that are open cannot be removed")
def test_a_model_that_is_in_use_goes_on_when_it_is_deleted(tmp_path: Path) -> None:
    add(tmp_path, "org/m", {"m-Q8_0.gguf": pocket.path().read_bytes()})
    path = disk.find(Name("org/m"), tmp_path)
    assert path is not None
    model = heron.load(path)
    said = model.generate("Hi", max_tokens=5, temperature=0).text
    disk.delete(disk.models(tmp_path), tmp_path)
    assert not path.exists() and model.generate("Hi", max_tokens=5, temperature=0).text == said
    model.close()
