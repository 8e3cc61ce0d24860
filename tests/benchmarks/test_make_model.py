"""benchmarks/make_model.py writes files that run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import heron
from heron import pocket

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import make_model


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
@pytest.mark.parametrize("architecture", ["llama", "qwen2"])
def test_a_small_shape_runs(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = architecture == "qwen2"
    shape = make_model.Shape(architecture, 2, 64, 96, 4, 2, 32, 1600, 10000.0, tied, bias=tied)
    monkeypatch.setattr(make_model, "SHAPES", {"small": shape})
    out = tmp_path / "small.gguf"
    monkeypatch.setattr(sys, "argv", ["", "small", "Q4_0", str(out), "--vocab", str(pocket.path()), "--head", "Q8_0"])
    make_model.main()
    model = heron.load(out)
    formats = {name: tensor.format.name for name, tensor in model.checkpoint.tensors.items()}
    assert formats["blk.1.attn_q.weight"] == "Q4_0" and formats["token_embd.weight"] == "Q8_0" and ("output.weight" in formats) != tied
    assert model.tokenizer.vocab_size == 1600 and np.isfinite(model.logits([5, 1599])).all()
