"""What is foretold of memory and what a process then holds; parts; what fits."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_models import make
from typer.testing import CliRunner

import heron
from heron import pocket
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.cli import app
from heron.compiled import core
from heron.engine.engine import Engine
from heron.engine.forecast import forecast
from heron.engine.memory import resident_bytes
from heron.models.registry import build_model, load_families

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import make_model

#: In a process of its own: what it foretells and then holds, with a full context.
FILL = """
import gc, json, sys
import numpy as np
import heron, heron.engine.engine
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.engine.forecast import forecast
from heron.engine.memory import resident_bytes
from heron.models.registry import build_model
from heron.text.tokenizer import Tokenizer
path, context = sys.argv[1], int(sys.argv[2])
checkpoint = Checkpoint(path)
tokenizer = Tokenizer.from_checkpoint(checkpoint)
told = forecast(build_model(checkpoint), Options())
before = resident_bytes()
model = heron.load(path, ctx_size=context)
model.executable.wait()
for _ in model.steps(np.random.default_rng(0).integers(5, 200, context - 1).tolist(), ("logits",), context - 2):
    pass
print(json.dumps({"told": told.total(context), "held": resident_bytes() - before}))
"""


def of_shape(path: Path, hidden: int, layers: int, format: str) -> None:
    """A Llama with the pocket model's tokenizer and random weights."""
    shape = make_model.Shape("llama", layers, hidden, 3 * hidden, hidden // 64, 4, 64, 3072, 10000.0, False)
    metadata = shape.metadata() | make_model.tokenizer(str(pocket.path()), shape.vocab)
    write_gguf(path, metadata, make_model.tensors(shape, format, format))


@pytest.mark.skipif(core is None or not resident_bytes(), reason="needs the core, and a system that tells what a process holds")
@pytest.mark.parametrize(("hidden", "layers", "format"), [(768, 8, "Q4_0"), (1024, 4, "Q8_0"), (512, 12, "F16")])
def test_memory_is_as_foretold(tmp_path: Path, hidden: int, layers: int, format: str) -> None:
    """Within 5% of what the process holds beside the program itself, for a short and a long context."""
    of_shape(tmp_path / "m.gguf", hidden, layers, format)
    for context in (1024, 4096):
        command = [sys.executable, "-c", FILL, str(tmp_path / "m.gguf"), str(context)]
        found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        assert found["told"] == pytest.approx(found["held"], rel=0.05)


@pytest.mark.parametrize("family", ["llama", "qwen3moe", "deepseek2", "mamba2", "qwen3next", "t5"])
def test_parts_are_all_that_is_held(tmp_path: Path, family: str) -> None:
    load_families()
    make(family, tmp_path)
    model = build_model(Checkpoint(tmp_path))
    options = Options()
    told = forecast(model, options)
    if core is not None:
        from heron.backends import native

        executable = native.prepare(model, options=options)
        executable.wait()
        assert sum(told.weights.values()) == pytest.approx(executable.memory()["weights"], rel=0.02)
    assert "norms and others" in told.weights and len(told.weights) >= 3
    if family == "qwen3moe":
        assert told.weights["experts"] > 0
        assert 0 < told.read < sum(told.weights.values())


def test_what_fits(shared: Path) -> None:
    told = forecast(build_model(Checkpoint(shared / "data/stories/stories260K-f32.gguf")), Options())
    context = told.model.context_length
    assert told.fits(1 << 40) == context and told.fits(0) == 0
    half = told.fits(told.total(context // 2))
    assert context // 2 <= half < context // 2 + 64 and told.total(half) <= told.total(context // 2) < told.total(half + 64)
    assert told.decode_speed(told.read) == 1 and told.decode_speed(told.read, context) < 1


def test_the_command() -> None:
    found = json.loads(CliRunner().invoke(app, ["plan", "--json", "--no-measure", "-c", "512", "-s", "3"]).stdout)
    assert found["sequences"] == 3 and found["ctx_size"] == 512 and found["fits"] and found["longest_context"] == found["context_length"]
    assert found["total"] == sum(found["weights"].values()) + found["cache"] + found["buffers"] + found["program"]
    shown = CliRunner().invoke(app, ["plan"]).stdout
    assert "it fits" in shown and "tokens/s" in shown
    assert CliRunner().invoke(app, ["plan", "-s", "0"]).exit_code != 0


@pytest.mark.parametrize(("free", "shown"), [(1 << 40, "it fits"), (1_500_000, "of 4 layers fit: --gpu-layers")])
def test_a_gpu_is_told_of(free: int, shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from heron.backends import torch

    monkeypatch.setattr(torch, "sees_gpu", lambda: True)
    monkeypatch.setattr(torch, "first_gpu", lambda: "cuda")
    monkeypatch.setattr(torch, "room", lambda device, options: torch.Room(free, 2))
    assert shown in CliRunner().invoke(app, ["plan", "--no-measure"]).stdout


def test_the_engine_says_what_was_foretold(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", "heron.engine"), Engine(heron.load(pocket.path()), max_seqs=2):
        pass
    (record,) = [record for record in caplog.records if record.message == "memory in bytes"]
    fields = record.__dict__["fields"]
    assert fields["weights"] == pytest.approx(fields["weights_planned"], rel=0.02) and fields["cache"] == fields["cache_planned"] > 0
