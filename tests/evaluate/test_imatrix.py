"""Importance matrices: sums beside what transformers' own layers are given, and the files."""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from tiny_models import DECODERS
from typer.testing import CliRunner

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.imatrix import ImportanceMatrix, read_imatrix, write_imatrix
from heron.cli import app
from heron.errors import CheckpointError
from heron.graph.passes.observe import observe
from heron.models.registry import build_model

NAMES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
BACKENDS = [
    pytest.param(reference, id="reference"),
    pytest.param(native, id="native", marks=pytest.mark.skipif(not native.available(), reason="the core is not compiled")),
    pytest.param(on_torch, id="torch"),
]


def prepared(backend: Any) -> parity.Prepare:
    return lambda model, options: backend.prepare(model, options=options)


def values(runner: parity.Runner, tokens: Sequence[int], want: Sequence[str]) -> Mapping[str, Any]:
    return runner.executable.run("forward", runner.batch({0: tokens}, rows=np.zeros(0, np.int32)), want).arrays


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("family", ["llama", "gemma3"])
def test_sums_are_those_of_transformers(backend: Any, family: str, tmp_path: Path) -> None:
    made = parity.tiny(DECODERS[family](), tmp_path)
    tokens = parity.prompt(60, 40)
    sums: dict[str, torch.Tensor] = {}

    def watch(name: str) -> Any:
        return lambda module, given: sums.update({name: given[0].double().square().flatten(0, -2).sum(0)})

    for name, module in made.hf.named_modules():
        layer, _, part = name.partition("layers.")[2].partition(".")
        if part in NAMES:
            module.register_forward_pre_hook(watch(f"blk.{layer}.{NAMES[part]}.weight"))
    made.expected(tokens)
    runner = parity.Runner(observe(build_model(Checkpoint(tmp_path))), prepared(backend), Options(kv_dtype="f32", activations="f32"))
    want = [f"{what}:{name}" for name in sums for what in ("squares", "rows")]
    got: dict[str, Any] = defaultdict(float)
    for part in (tokens[:25], tokens[25:]):
        batch_results = values(runner, part, want)
        for key, value in batch_results.items():
            got[key] = got[key] + value
    assert len(sums) == 7 * made.hf.config.get_text_config().num_hidden_layers
    for name, expected in sums.items():
        assert got[f"rows:{name}"] == [40]
        np.testing.assert_allclose(got[f"squares:{name}"], expected, rtol=1e-3, atol=1e-4 * float(expected.mean()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_experts_have_sums_of_their_own_rows(backend: Any, tmp_path: Path) -> None:
    made = parity.tiny(DECODERS["qwen3moe"](), tmp_path)
    tokens = parity.prompt(60, 40)
    expected: dict[str, Any] = {}

    def watch(layer: int) -> Any:
        def hook(module: Any, given: Any) -> None:
            x, chosen = given[0].double().flatten(0, -2), given[1]
            count = module.num_experts
            expected[f"rows:blk.{layer}.ffn_up_exps.weight"] = torch.bincount(chosen.flatten(), minlength=count)
            masks = torch.stack([(chosen == expert).any(-1) for expert in range(count)]).double()
            expected[f"squares:blk.{layer}.ffn_up_exps.weight"] = masks @ x.square()

        return hook

    for layer, block in enumerate(made.hf.model.layers):
        if hasattr(block.mlp, "experts"):
            block.mlp.experts.register_forward_pre_hook(watch(layer))
    made.expected(tokens)
    assert expected
    runner = parity.Runner(observe(build_model(Checkpoint(tmp_path))), prepared(backend), Options(kv_dtype="f32", activations="f32"))
    got = values(runner, tokens, list(expected))
    for name, value in expected.items():
        np.testing.assert_allclose(got[name], value, rtol=1e-3, atol=1e-4 * float(value.double().mean()))


def matrix() -> ImportanceMatrix:
    rng = np.random.default_rng(0)
    made = ImportanceMatrix(datasets=["a.txt", "b.txt"], chunks=3, chunk_size=128)
    for _ in range(2):
        made.add("blk.0.attn_q.weight", rng.random(64), np.array([40.0]))
        made.add("blk.0.ffn_up_exps.weight", rng.random((4, 64)), np.array([3.0, 0.0, 5.0, 1.0]))
    return made


def test_files_hold_what_was_written(tmp_path: Path) -> None:
    made = matrix()
    write_imatrix(tmp_path / "i.gguf", made)
    read = read_imatrix(tmp_path / "i.gguf")
    assert (read.datasets, read.chunks, read.chunk_size) == (made.datasets, 3, 128) and read.sums.keys() == made.sums.keys()
    experts = read.of("blk.0.ffn_up_exps.weight", (4, 32, 64))
    assert experts is not None and experts.shape == (4, 64) and (experts[1] == 1).all()
    np.testing.assert_allclose(experts[2], made.sums["blk.0.ffn_up_exps.weight"].squares[2] / 10, rtol=1e-6)
    assert read.of("blk.1.attn_q.weight", (64, 64)) is None
    with pytest.raises(CheckpointError, match="another model"):
        read.of("blk.0.attn_q.weight", (64, 128))


def test_gguf_py_reads_the_file(tmp_path: Path) -> None:
    import gguf

    write_imatrix(tmp_path / "i.gguf", matrix())
    reader = gguf.GGUFReader(tmp_path / "i.gguf")
    shapes = {tensor.name: tensor.data.shape for tensor in reader.tensors}
    assert shapes["blk.0.ffn_up_exps.weight.in_sum2"] == (4, 64) and shapes["blk.0.ffn_up_exps.weight.counts"] == (4, 1)
    assert shapes["blk.0.attn_q.weight.in_sum2"] == (1, 64)
    assert reader.get_field("general.type").contents() == "imatrix"
    assert reader.get_field("imatrix.chunk_count").contents() == 3 and reader.get_field("imatrix.datasets").contents() == ["a.txt", "b.txt"]


def test_the_older_form_is_read(tmp_path: Path) -> None:
    values = np.arange(1, 65, dtype="<f4")
    name = b"blk.0.attn_q.weight"
    data = struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 2, 64) + values.tobytes()
    path = tmp_path / "imatrix.dat"
    path.write_bytes(data + struct.pack("<ii", 3, 4) + b"text")
    found = read_imatrix(path).of("blk.0.attn_q.weight", (8, 64))
    assert found is not None
    np.testing.assert_allclose(found[0], values / 2)
    for cut in (0, 3, 7, 20, 40, 100):
        path.write_bytes(data[:cut])
        with pytest.raises(CheckpointError, match="importance matrix"):
            read_imatrix(path)


def test_a_model_is_no_importance_matrix(shared: Path) -> None:
    with pytest.raises(CheckpointError, match="heron imatrix MODEL TEXT"):
        read_imatrix(shared / "data/stories/stories260K-f32.gguf")


def test_the_command(shared: Path, tmp_path: Path) -> None:
    model, text = shared / "data/stories/stories260K-f32.gguf", shared / "data/text/tinystories_sample.txt"
    shown = CliRunner().invoke(app, ["imatrix", str(model), str(text), "-c", "64", "-o", str(tmp_path / "i.gguf")])
    assert shown.exit_code == 0, shown.output
    made = read_imatrix(tmp_path / "i.gguf")
    assert len(made.sums) == 7 * 5 and made.chunk_size == 64 and {float(s.rows[0]) for s in made.sums.values()} == {64.0 * made.chunks}
