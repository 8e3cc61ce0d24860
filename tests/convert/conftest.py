"""A model that is wide enough for every format, and what matters of it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heron import pocket
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.imatrix import ImportanceMatrix

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
import make_model

HIDDEN, LAYERS = 256, 8


@pytest.fixture(scope="session")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of the pocket model's vocabulary, in F16."""
    shape = make_model.Shape("llama", LAYERS, HIDDEN, 512, 8, 2, 32, 3072, 10000.0, False)
    rng = np.random.default_rng(0)
    tensors: dict[str, Any] = {"token_embd.weight": rng.standard_normal((3072, HIDDEN), np.float32).astype(np.float16)}
    for layer in range(LAYERS):
        for name, size in shape.matrices().items():
            # What layers add is small beside what they are given, as in trained models: rounding is not amplified from layer to layer.
            scale = (0.3 if name in ("attn_output", "ffn_down") else 1.0) / size[1] ** 0.5
            tensors[f"blk.{layer}.{name}.weight"] = (rng.standard_normal(size, np.float32) * scale).astype(np.float16)
        for name in ("attn_norm", "ffn_norm"):
            tensors[f"blk.{layer}.{name}.weight"] = np.ones(HIDDEN, np.float32)
    head = rng.standard_normal((3072, HIDDEN), np.float32) / HIDDEN**0.5
    tensors |= {"output_norm.weight": np.ones(HIDDEN, np.float32), "output.weight": head.astype(np.float16)}
    path = tmp_path_factory.mktemp("original") / "model-F16.gguf"
    write_gguf(path, shape.metadata() | make_model.tokenizer(str(pocket.path()), 3072), tensors)
    return path


@pytest.fixture(scope="session")
def importance(original: Path) -> ImportanceMatrix:
    made, rng = ImportanceMatrix(datasets=["some/text.txt"], chunks=2, chunk_size=64), np.random.default_rng(1)
    for name, tensor in Checkpoint(original).tensors.items():
        if name.startswith("blk") and tensor.ndim == 2:
            made.add(name, rng.gamma(1.0, 1.0, tensor.shape[1]), np.array([128.0]))
    return made
