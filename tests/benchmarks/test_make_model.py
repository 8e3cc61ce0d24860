"""benchmarks/make_model.py writes files that run."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import heron
from heron import pocket
from heron.quant.formats import FORMATS

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import make_model


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
@pytest.mark.parametrize("architecture", ["llama", "qwen2", "qwen3"])
def test_a_small_shape_runs(architecture: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tied = architecture != "llama"
    shape = make_model.Shape(
        architecture, 2, 64, 96, 4, 2, 32, 3136, 10000.0, tied, bias=architecture == "qwen2", head_norms=architecture == "qwen3"
    )
    monkeypatch.setattr(make_model, "SHAPES", {"small": shape})
    out = tmp_path / "small.gguf"
    monkeypatch.setattr(sys, "argv", ["", "small", "Q4_0", str(out), "--vocab", str(pocket.path()), "--head", "Q8_0"])
    make_model.main()
    model = heron.load(out)
    formats = {name: tensor.format.name for name, tensor in model.checkpoint.tensors.items()}
    assert formats["blk.1.attn_q.weight"] == "Q4_0" and formats["token_embd.weight"] == "Q8_0" and ("output.weight" in formats) != tied
    assert model.tokenizer.vocab_size == 3136 and np.isfinite(model.logits([5, 3135])).all()


@pytest.mark.parametrize("format", ["Q8_0", "Q4_K", "Q6_K", "E4M3_32", "E4M3_128", "BF16"])
def test_random_blocks_are_of_the_right_size(format: str) -> None:
    numbers = make_model.Random((500, 512), FORMATS[format], 3).numpy()
    assert numbers.std() * 512**0.5 == pytest.approx(1, rel=0.5) and abs(numbers.mean()) < 0.1 * numbers.std()


def test_a_mix_is_llama_cpps() -> None:
    layers = [make_model.format_of("Q4_K_M", "ffn_down", layer, 32).name for layer in range(32)]
    assert layers.count("Q6_K") == 16 and layers[:8] == ["Q6_K"] * 4 + ["Q4_K", "Q4_K", "Q6_K", "Q4_K"] and layers[28:] == ["Q6_K"] * 4
    assert make_model.format_of("Q4_K_M", "head").name == "Q6_K" and make_model.format_of("Q4_K_M", "attn_q", 0, 32).name == "Q4_K"
