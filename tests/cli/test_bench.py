"""`heron bench`, as its users meet it."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
from tiny_models import make
from tiny_word_pieces import write_word_pieces
from typer.testing import CliRunner

from heron import pocket
from heron.cli import app
from heron.errors import RequestError


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    made = {name: make(name, tmp_path_factory.mktemp(name)).folder for name in ("llama", "t5", "bert", "mamba")}
    for folder in made.values():
        write_word_pieces(folder)
    return made


def bench(*args: str | Path) -> str:
    result = CliRunner().invoke(app, ["bench", *map(str, args)], env={"COLUMNS": "200"}, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def kinds(facts: dict) -> list[tuple[str, int, int, int]]:
    for row in facts["results"]:
        assert 0 < row["min"] <= row["tokens_per_second"] <= row["max"] < 1e9
    return [(row["kind"], row["context"], row["tokens"], row["batch"]) for row in facts["results"]]


def test_every_combination_is_measured(folders: dict[str, Path]) -> None:
    line = ["--threads", "1,2", "--prompt", "5,9", "--generate", "2,3", "--batch", "1,3", "--repetitions", "2", "--json"]
    facts = json.loads(bench(folders["llama"], *line))
    expected = []
    for prompt, batch in product((5, 9), (1, 3)):
        expected += [("prefill", 0, prompt, batch), ("decode", prompt, 2, batch), ("decode", prompt, 3, batch)]
    assert kinds(facts) == 2 * expected
    assert facts["model"]["architecture"] == "llama" and facts["model"]["parameters"] > 0
    assert facts["machine"]["cpu"] and facts["repetitions"] == 2 and facts["kv_dtype"] == "f16"


def test_zero_measures_nothing(folders: dict[str, Path]) -> None:
    common = ("--backend", "reference", "--repetitions", "1", "--json")
    facts = json.loads(bench(folders["llama"], "--prompt", "0", "--generate", "2", *common))
    assert kinds(facts) == [("decode", 0, 2, 1)] and facts["backend"] == "reference"
    assert kinds(json.loads(bench(folders["llama"], "--prompt", "4", "--generate", "0", *common))) == [("prefill", 0, 4, 1)]


def test_encoders_and_recurrent_models(folders: dict[str, Path]) -> None:
    line = ("--prompt", "6", "--generate", "2", "--batch", "2", "--repetitions", "1", "--backend", "reference", "--json")
    for name in ("t5", "mamba"):
        assert kinds(json.loads(bench(folders[name], *line))) == [("prefill", 0, 6, 2), ("decode", 6, 2, 2)]
    assert kinds(json.loads(bench(folders["bert"], *line))) == [("prefill", 0, 6, 2)]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--prompt", "5,x"], "--prompt is '5,x'; give a whole number"),
        (["--threads", "0"], "--threads is '0'; the least is 1"),
        (["--batch", "2,-1"], "the least is 1"),
        (["--prompt", "0", "--generate", "0"], "nothing to measure"),
        (["--repetitions", "0"], "at least once"),
        (["--prompt", "30", "--ctx-size", "40"], "62 together, the context holds 40; ask for a larger --ctx-size"),
        (["--kv-dtype", "f8"], "'f8' is not one of"),
        (["--backend", "abacus"], "no backend 'abacus'"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(folders: dict[str, Path], args: list[str], words: str) -> None:
    result = CliRunner().invoke(app, ["bench", str(folders["llama"]), *args])
    assert words in str(result.exception) and "\n" not in str(result.exception)


def test_a_batch_beyond_memory_is_refused(folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("heron.engine.memory.available_bytes", lambda: 1 << 16)
    with pytest.raises(RequestError, match=r"1000 sequences of 12 tokens need .* GiB of cache and 0\.0 GiB are free"):
        bench(folders["llama"], "--prompt", "8", "--generate", "4", "--batch", "1000", "--ctx-size", "20")


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
def test_the_pocket_model_is_the_default() -> None:
    line = [sys.executable, "-m", "heron", "bench"]
    done = subprocess.run([*line, "--prompt", "64", "--generate", "4"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == ""
    rows = [row.split() for row in done.stdout.splitlines()]
    assert [row[:1] + row[2:5] for row in rows[-2:]] == [["prefill", "1", "0", "64"], ["decode", "1", "64", "4"]]
    done = subprocess.run([*line, "--prompt", "x"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("heron: error: ")
