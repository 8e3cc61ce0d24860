"""benchmarks/gpu.py runs on a small model, and its table says what it should."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import gpu
import gpu_work
from gpu_engines import Heron, InMemory, Transformers
from make_model import SHAPES, Shape

ROOT = Path(__file__).resolve().parents[2]


def test_all_of_it_runs_on_a_small_model(tmp_path: Path) -> None:
    line = [sys.executable, "benchmarks/gpu.py", "--tiny", "--device", "cpu", "--formats", "Q4_K_M,I32"]
    sizes = [
        "--prefill",
        "16",
        "--batches",
        "1,3",
        "--context",
        "20",
        "--steps",
        "3",
        "--rounds",
        "2",
        "--json",
        str(tmp_path / "out.json"),
    ]
    done = subprocess.run(
        [*line, *sizes], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    rows = [row.strip("| ").split(" | ") for row in done.stdout.splitlines() if row.startswith("| tiny")]
    whats = ["prefill 16", "decode 1", "decode 3"]
    assert [row[1:3] for row in rows] == [["Q4_K_M", what] for what in whats] + [["I32", "all"]]
    for row in rows[:-1]:
        assert all(float(cell.split()[0]) >= 0 for cell in row[3:7]) and row[7] == "-"
    assert "I32" in rows[-1][3]
    assert "figures mean nothing" in done.stdout and done.stdout.count("kernels a step, the device computed") == 1
    facts = json.loads((tmp_path / "out.json").read_text())
    assert [row["what"] for row in facts["rows"]] == [*whats, "all"]
    assert len(facts["limits"]) == 6 and all(each["copy"] > 0 and each["matrix"] > 0 for each in facts["limits"])
    assert all(len(row["heron"]) == len(row["transformers"]) == len(row["ratios"]) == 2 for row in facts["rows"][:-1])
    assert all(min(row["heron"] + row["transformers"] + row["of_limit"]) > 0 for row in facts["rows"][:-1])
    assert all(0 < trace["hidden"] <= 1 and trace["kernels"] > 10 for trace in facts["traces"])


def test_targets_are_the_rows_of_the_script() -> None:
    options = gpu.parsed([])
    known = {f"decode {n}" for n in options.batches} | {f"prefill {n}" for n in options.prefill}
    for shape, format, what in gpu.TARGETS:
        assert shape in options.shapes and format in options.formats and what in known
    row = gpu.Row("llama-3.1-8b", "BF16", "decode 1", heron=[30.0, 10.0], transformers=[10.0, 10.0], of_limit=[0.9, 0.8])
    facts = row.facts()
    assert facts["target"] == {"of_limit": 0.85, "ratio": 2.0}
    assert facts["of_target"] == {"of_limit": pytest.approx(1.0), "ratio": pytest.approx(1.0)}
    assert row.cells()[3:] == ["20.0 (10.0 to 30.0)", "10.0 (10.0 to 10.0)", "2.00 (1.00 to 3.00)", "0.85 (0.80 to 0.90)", ">= 0.85, 2x"]


def test_who_cannot_leaves_the_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A row says why Heron cannot; without the peer there is a row all the same."""
    line = "--tiny --device cpu --prefill 8 --batches 1 --context 8 --steps 2 --rounds 1"
    bench = gpu.Bench("tiny", gpu.TINY, gpu.parsed(line.split()))

    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("no room\nfor that")

    with monkeypatch.context() as patch:
        patch.setattr(Transformers, "decode", full)
        prefill, decode, trace = bench.rows("BF16")
    assert isinstance(trace, gpu_work.Trace) and "tiny BF16, decode 1: transformers cannot: no room\n" in capsys.readouterr().err
    assert isinstance(prefill, gpu.Row) and isinstance(decode, gpu.Row)
    assert len(prefill.ratios) == 1 and len(decode.heron) == 1 and not decode.ratios
    monkeypatch.setattr(Heron, "prefill", full)
    row = next(bench.rows("BF16"))
    assert isinstance(row, gpu.Row) and row.failed == "no room" and row.cells()[3] == "no room"


def test_waits_between_kernels() -> None:
    trace = gpu_work.traced([("b", 3.0, 4.0), ("a", 0.0, 2.0), ("a", 1.0, 2.5), ("b", 6.0, 7.0)], 2)
    assert (trace.kernels, trace.busy, trace.waited, trace.longest) == (2.0, 2.25, 1.25, 2.0)
    assert trace.most == (("a", 1.75), ("b", 1.0)) and trace.hidden == 2.25 / 3.5
    with pytest.raises(ValueError, match="no kernel"):
        gpu_work.traced([], 1)


def small(name: str) -> Shape:
    return Shape(**SHAPES[name].__dict__ | {"layers": 2, "hidden": 256, "feed_forward": 512, "vocab": 512})


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-0.6b"])
def test_both_engines_have_the_same_matrices(name: str) -> None:
    """And what a step must do is counted by them."""
    shape = small(name)
    checkpoint = InMemory(shape, "BF16")
    peer = Transformers(shape, "cpu", {"backend": "eager"})
    theirs = sorted(tuple(p.shape) for p in peer._model.parameters() if p.ndim == 2)
    assert sorted(t.shape for t in checkpoint.tensors.values() if len(t.shape) == 2) == theirs
    work = gpu_work.Work.of(shape, checkpoint.tensors)
    multiplied = sum(a * b for a, b in theirs) - (0 if shape.tied else shape.vocab * shape.hidden)
    assert work.layers + work.head == multiplied and work.weights == 2 * multiplied
    slow = gpu_work.Limits(copy=1.0, matrix=1e30)
    assert work.decode(3, 10, slow) == work.weights + 3 * 10 * 2 * 2 * shape.layers * shape.kv_heads * shape.head_dim
    assert work.prefill(7, gpu_work.Limits(1e30, 1.0)) == 7 * work.layers + work.head + 49 * shape.layers * shape.heads * shape.head_dim


def test_the_peer_goes_on_by_its_own_tokens() -> None:
    """A static cache that is read to its end: the same tokens as without a cache."""
    peer = Transformers(small("llama-3.1-8b"), "cpu", {"backend": "eager"}, torch.float32)
    said = [0]
    model: Any = peer._model
    for _ in range(4):
        said.append(int(model(torch.tensor([[0] * 5 + said])).logits[0, -1].argmax()))
    with peer.room(2, 5, 6):
        for expected in said[1:]:
            peer.decode(1)
            assert peer._tokens[:, 0].tolist() == [expected] * 2


def test_the_script_of_checks_names_what_is_there(tmp_path: Path) -> None:
    line = ["sh", "benchmarks/gpu_checks.sh", "--device", "cpu", "--out", str(tmp_path / "out")]
    listed = subprocess.run([*line, "--list"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    named = {word for word in listed.split() if word.startswith(("tests/", "benchmarks/"))}
    assert len(named) >= 8 and not [path for path in named if not (ROOT / path).exists()]
    for python, code, word in (("true", 0, "passed"), ("false", 1, "FAILED")):
        done = subprocess.run(line, cwd=ROOT, env=os.environ | {"PYTHON": python}, capture_output=True, text=True)
        assert done.returncode == code and done.stdout.count(f"\n{word}  ") == len(listed.splitlines())
    assert subprocess.run([*line, "--bogus"], cwd=ROOT, capture_output=True).returncode == 2
