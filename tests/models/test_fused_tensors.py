"""Queries, keys and values (or gates and ups of experts) that a file stores in one tensor: the same model, or a clear error."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest
from numpy.typing import NDArray
from tiny_models import DECODERS

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.errors import CheckpointError
from heron.models.registry import build_model

Tensors = dict[str, NDArray[np.float32]]


def fused(checkpoint: Checkpoint) -> Tensors:
    """The checkpoint's tensors with attn_qkv and ffn_gate_up_exps in place of their parts."""
    tensors = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
    for layer in range(2):
        for kind in ("weight", "bias"):
            names = [f"blk.{layer}.attn_{part}.{kind}" for part in "qkv"]
            if names[0] in tensors:
                tensors[f"blk.{layer}.attn_qkv.{kind}"] = np.concatenate([tensors.pop(name) for name in names])
        names = [f"blk.{layer}.ffn_{part}_exps.weight" for part in ("gate", "up")]
        if names[0] in tensors:
            tensors[f"blk.{layer}.ffn_gate_up_exps.weight"] = np.concatenate([tensors.pop(name) for name in names], axis=1)
    return tensors


@pytest.fixture(scope="module", params=["qwen2", "qwen3moe"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(DECODERS[request.param](), tmp_path_factory.mktemp(request.param))


def test_fused_weights_are_the_same_model(made: parity.Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint(made.folder)
    write_gguf(tmp_path / "fused.gguf", checkpoint.metadata, fused(checkpoint))
    model, tokens = build_model(Checkpoint(tmp_path / "fused.gguf")), parity.prompt(67, 30)
    assert any("attn_qkv" in weight.name for weight in model.entries["forward"].weights().values())
    assert parity.difference(parity.whole(parity.Runner(model), tokens), made.expected(tokens)) <= parity.TOLERANCE


@pytest.mark.parametrize(("extra", "message"), [(8, r"qkv.*\(rows \d+ to \d+\).*do not add up"), (-8, "at least")])
def test_rows_that_do_not_add_up_are_refused(made: parity.Tiny, tmp_path: Path, extra: int, message: str) -> None:
    checkpoint = Checkpoint(made.folder)
    tensors = fused(checkpoint)
    name = "blk.1.attn_qkv.weight"
    rows = tensors[name]
    tensors[name] = np.concatenate([rows, rows[:extra]]) if extra > 0 else rows[:extra]
    write_gguf(tmp_path / "wrong.gguf", checkpoint.metadata, tensors)
    with pytest.raises(CheckpointError, match=message):
        build_model(Checkpoint(tmp_path / "wrong.gguf"))
