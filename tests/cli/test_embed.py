"""`heron embed`, as its users meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_models import make
from tiny_word_pieces import write_word_pieces
from typer.testing import CliRunner

import heron
from heron import pocket
from heron.cli import app
from heron.errors import RequestError

TEXTS = ["herons stand", "a bird", "they wait"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make("bert", tmp_path_factory.mktemp("bert"))
    write_word_pieces(made.folder)
    return made.folder


@pytest.fixture(scope="module")
def vectors(folder: Path) -> np.ndarray:
    return heron.load(folder, backend="reference").embed(TEXTS)


def command(folder: Path, *args: str | Path, stdin: str = "") -> str:
    line = ["embed", str(folder), *map(str, args), "--backend", "reference"]
    result = CliRunner().invoke(app, line, input=stdin, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_numbers_are_the_librarys_exactly(folder: Path, vectors: np.ndarray) -> None:
    lines = command(folder, *TEXTS).splitlines()
    assert (np.array([line.split() for line in lines], np.float32) == vectors).all()


def test_texts_from_arguments_a_file_and_a_pipe(folder: Path, tmp_path: Path) -> None:
    said = command(folder, *TEXTS)
    assert command(folder, stdin="\n".join(TEXTS)) == command(folder, stdin="\r\n".join(TEXTS) + "\r\n") == said
    (tmp_path / "lines.txt").write_text("\n".join(TEXTS[1:]) + "\n")
    assert command(folder, TEXTS[0], "-f", tmp_path / "lines.txt", stdin="not read") == said


def test_formats(folder: Path, vectors: np.ndarray, tmp_path: Path) -> None:
    rows = [json.loads(line) for line in command(folder, *TEXTS, "--format", "jsonl").splitlines()]
    assert [row["text"] for row in rows] == TEXTS and list(rows[0]) == ["text", "embedding"]
    assert (np.array([row["embedding"] for row in rows], np.float32) == vectors).all()
    assert json.loads(command(folder, *TEXTS, "--format", "json")) == rows
    assert command(folder, *TEXTS, "--format", "npy", "-o", tmp_path / "a.npy") == ""
    saved = np.load(tmp_path / "a.npy")
    assert saved.dtype == np.float32 and (saved == vectors).all()


def test_similarity_is_the_cosine(folder: Path, vectors: np.ndarray) -> None:
    rows = json.loads(command(folder, *TEXTS, "--similarity", "--no-normalize", "--format", "json"))
    cosines = [[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in vectors] for a in vectors]
    assert np.abs(np.array([row["similarity"] for row in rows]) - cosines).max() <= 1e-6


def test_pooling_length_and_truncation(folder: Path, tmp_path: Path) -> None:
    model = heron.load(folder, backend="reference")
    out = tmp_path / "b.npy"
    command(folder, *TEXTS, "--pooling", "cls", "--no-normalize", "--format", "npy", "-o", out)
    assert (np.load(out) == model.embed(TEXTS, "cls", normalize=False)).all()
    command(folder, "a" * 50, "-c", "12", "--truncate", "--format", "npy", "-o", out)
    assert (np.load(out) == model.embed(["a" * 10])).all()


@pytest.mark.parametrize(
    ("args", "stdin", "words"),
    [
        (["--pooling", "max", "a"], "", "no pooling 'max'"),
        (["--format", "csv", "a"], "", "no format 'csv'; there are text, json, jsonl, npy"),
        (["--format", "npy", "a"], "", "with -o"),
        (["a", "-o", "/no/such/folder/file"], "", "cannot be written"),
        (["-f", "/no/such/file"], "", "'/no/such/file' cannot be read"),
        ([], "a\n\nb\n", "line 2 of stdin is empty"),
        ([], "", "line 1 of stdin is empty"),
        (["a", ""], "", "text 1 is empty"),
        (["a" * 50], "", "text 0 has 52 tokens, the model reads 40"),
    ],
)
def test_what_is_wrong_is_said(folder: Path, args: list[str], stdin: str, words: str) -> None:
    result = CliRunner().invoke(app, ["embed", str(folder), "--backend", "reference", *args], input=stdin)
    assert isinstance(result.exception, RequestError) and words in str(result.exception) and "\n" not in str(result.exception)


def test_an_error_is_one_line_and_exit_code_2(folder: Path) -> None:
    for args in (["embed", folder, "a", "--pooling", "max"], ["run", folder, "-p", "a"], ["embed", "/no/such.gguf", "a"]):
        done = subprocess.run([sys.executable, "-m", "heron", *map(str, args)], capture_output=True, timeout=60)
        assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (2, b"", 1)
        assert done.stderr.startswith(b"heron: error: ")


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
def test_the_pocket_model_embeds() -> None:
    done = subprocess.run([sys.executable, "-m", "heron", "embed"], input=b"hello\nworld\n", capture_output=True, timeout=60)
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 2
