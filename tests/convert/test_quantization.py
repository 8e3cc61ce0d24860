"""`heron quantize`: files, their sizes, shards, importance, and what is refused."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader
from gguf import dequantize as decoded_by_gguf_py
from typer.testing import CliRunner

import heron
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf, write_shards
from heron.checkpoint.imatrix import ImportanceMatrix, write_imatrix
from heron.checkpoint.views import Const
from heron.cli import app
from heron.convert.quantize import quantization
from heron.convert.quantized import Quantized
from heron.errors import CheckpointError, RequestError
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS
from heron.quant.mixes import FILE_TYPES, NEED_IMPORTANCE
from heron.quant.quantize import quantize


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(app, ["quantize", *map(str, arguments)])


@pytest.mark.parametrize("type", FILE_TYPES)
def test_every_type_holds_what_it_promises(type: str, original: Path, importance: ImportanceMatrix, tmp_path: Path) -> None:
    """Each tensor in the format that was planned, within what rounding to it costs; gguf-py reads the same numbers."""
    with Checkpoint(original) as checkpoint:
        planned = quantization(checkpoint, type, imatrix=importance)
        planned.write(tmp_path / "q.gguf")
        source = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
    written = Checkpoint(tmp_path / "q.gguf")
    assert written.metadata["general.file_type"] == FILE_TYPES[type][0] and written.metadata["quantize.imatrix.dataset"] == "text.txt"
    assert {item.name: item.format for item in planned.items} == {name: tensor.format for name, tensor in written.tensors.items()}
    known = all(item.format.name not in ("Q1_0", "Q2_0") for item in planned.items)  # to this gguf-py
    raw = {tensor.name: tensor for tensor in GGUFReader(tmp_path / "q.gguf").tensors} if known else {}
    for name, tensor in written.tensors.items():
        values = tensor.numpy()
        bits = 8 * tensor.nbytes / tensor.size
        error = float(np.square(values - source[name]).mean() / np.square(source[name]).mean())
        assert error <= 8 * 4.0**-bits if bits < 16 else error < 1e-5, (name, tensor.format, error)
        if known:
            np.testing.assert_array_equal(values, decoded_by_gguf_py(raw[name].data, raw[name].tensor_type).reshape(values.shape))


def test_a_file_runs(original: Path, tmp_path: Path) -> None:
    shown = run(original, tmp_path, "Q8_0")
    assert shown.exit_code == 0, shown.output
    model, source = heron.load(tmp_path / "model-Q8_0.gguf"), heron.load(original)
    tokens = list(range(5, 60))
    a, b = model.logits(tokens), source.logits(tokens)
    assert np.abs(a - b).max() < 0.2 * b.std() and (a.argmax(-1) == b.argmax(-1)).mean() > 0.9
    model.close()
    source.close()


def test_importance_is_heeded(original: Path, importance: ImportanceMatrix) -> None:
    """Columns that matter lose less with it than without, weighed as it says."""
    name = "blk.2.ffn_up.weight"
    with Checkpoint(original) as checkpoint:
        source, weights = checkpoint.tensors[name], importance.of(name, checkpoint.tensors[name].shape)
        assert weights is not None
        exact = source.numpy()
        for format in ("Q2_K", "Q4_K", "IQ3_S"):
            made = [Quantized(name, source, FORMATS[format], given).numpy() for given in (weights, None)]
            lost = [float((np.square(values - exact) * weights).sum()) for values in made]
            assert lost[0] < 0.95 * lost[1], format


def test_experts_are_weighed_each_by_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    values, weights = rng.standard_normal((3, 8, 256), np.float32), rng.gamma(0.5, 1, (3, 256)).astype(np.float32)
    write_gguf(tmp_path / "e.gguf", {"general.architecture": "llama"}, {"e.weight": values})
    with Checkpoint(tmp_path / "e.gguf") as checkpoint:
        got = Quantized("e.weight", checkpoint.tensors["e.weight"], FORMATS["Q4_K"], weights)
        expected = np.stack([quantize(FORMATS["Q4_K"], values[i], weights[i]) for i in range(3)])
        np.testing.assert_array_equal(got.rows(), expected.reshape(24, -1))
        np.testing.assert_array_equal(got.rows(5, 19), expected.reshape(24, -1)[5:19])
        np.testing.assert_array_equal(dequantize(FORMATS["Q4_K"], got.rows(7, 8))[0], got.numpy()[0, 7])


@pytest.mark.parametrize("shape", [(), (7,), (5, 64), (2, 3, 64), (3, 2, 2, 64)], ids=str)
def test_tensors_of_any_shape(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).standard_normal(shape).astype(np.float32)
    for format in ("F16", "BF16"):
        got = Quantized("x", Const(values), FORMATS[format])
        expected = dequantize(FORMATS[format], quantize(FORMATS[format], values.reshape(got.n_rows, -1)))
        np.testing.assert_array_equal(got.numpy(), expected.reshape(shape))


def test_shards_stay_shards(original: Path, tmp_path: Path) -> None:
    with Checkpoint(original) as checkpoint:
        names = list(checkpoint.tensors)
        parts = [names[:10], names[10:40], names[40:]]
        shards = write_shards(tmp_path / "s.gguf", checkpoint.metadata, [{n: checkpoint.tensors[n] for n in part} for part in parts])
    assert [path.name for path in shards] == [f"s-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert run(shards[1], tmp_path / "q.gguf", "Q4_0", "--keep-split").exit_code == 0
    assert sorted(path.name for path in tmp_path.glob("q*")) == [f"q-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
    assert run(shards[0], tmp_path / "whole.gguf", "Q4_0").exit_code == 0
    split, whole = Checkpoint(tmp_path / "q-00001-of-00003.gguf"), Checkpoint(tmp_path / "whole.gguf")
    assert len(whole.files) == 1 and len(split.files) == 3 and dict(split.metadata).keys() == dict(whole.metadata).keys()
    for name, tensor in whole.tensors.items():
        np.testing.assert_array_equal(tensor.rows(), split.tensors[name].rows())


def test_overrides_and_dry_runs(original: Path, tmp_path: Path) -> None:
    shown = run(original, tmp_path / "q.gguf", "Q4_K_M", "--dry-run", "--tensor-type", "attn_v=Q8_0")
    assert shown.exit_code == 0 and not list(tmp_path.iterdir())
    assert "asked for" in shown.stdout and "bits a weight" in shown.stdout
    assert run(original, tmp_path / "q.gguf", "Q4_K_M", "--tensor-type", r"blk\.[01]\.attn_v=Q8_0").exit_code == 0
    formats = {name: tensor.format.name for name, tensor in Checkpoint(tmp_path / "q.gguf").tensors.items()}
    assert formats["blk.1.attn_v.weight"] == "Q8_0" and formats["blk.2.attn_v.weight"] in ("Q4_K", "Q6_K")
    assert run(original, tmp_path / "pure.gguf", "Q4_K_M", "--pure").exit_code == 0
    pure = {tensor.format.name for name, tensor in Checkpoint(tmp_path / "pure.gguf").tensors.items() if tensor.ndim == 2}
    assert pure == {"Q4_K"}


def test_few_bits_are_not_given_blindly(original: Path, importance: ImportanceMatrix, tmp_path: Path) -> None:
    for type in (*NEED_IMPORTANCE, "Q2_K_S"):
        with Checkpoint(original) as checkpoint, pytest.raises(RequestError, match="heron imatrix"):
            quantization(checkpoint, type)
    write_imatrix(tmp_path / "i.gguf", importance)
    assert run(original, tmp_path / "q.gguf", "IQ2_XXS", "--imatrix", tmp_path / "i.gguf").exit_code == 0


def test_an_importance_matrix_of_another_model(original: Path) -> None:
    other = ImportanceMatrix()
    other.add("blk.0.attn_q.weight", np.ones(64), np.ones(1))
    with Checkpoint(original) as checkpoint, pytest.raises(CheckpointError, match="another model"):
        quantization(checkpoint, "Q4_K_M", imatrix=other)
    stranger = ImportanceMatrix()
    stranger.add("layers.0.q", np.ones(256), np.ones(1))
    with Checkpoint(original) as checkpoint, pytest.raises(CheckpointError, match="none of the model's tensors"):
        quantization(checkpoint, "Q4_K_M", imatrix=stranger)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("{m}", "{t}/q.gguf", "Q9_K"), "there is no file type"),
        (("{m}", "{m}", "Q4_0"), "itself"),
        (("{m}", "{t}/none/q.gguf", "Q4_0"), "no folder"),
        (("{m}", "{t}/q.gguf", "Q4_0,Q8_0"), "several types"),
        (("{m}", "{t}/q.gguf", "Q4_0", "--tensor-type", "attn_v"), "PATTERN=FORMAT"),
        (("{m}", "{t}/q.gguf", "Q4_0", "--plot", "x.svg"), "--report"),
        (("{m}", "{t}/q.gguf", "Q4_0", "--imatrix", "{m}"), "no importance matrix"),
    ],
)
def test_what_is_refused(arguments: tuple[str, ...], message: str, original: Path, tmp_path: Path) -> None:
    shown = run(*(each.format(m=original, t=tmp_path) for each in arguments))
    assert shown.exit_code != 0 and message in str(shown.exception) and not list(tmp_path.glob("*"))


@pytest.fixture
def failing_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Writing to disk fails when the file is brought to it."""

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    return


def test_a_full_disk_leaves_nothing(original: Path, tmp_path: Path, failing_disk: None) -> None:
    with Checkpoint(original) as checkpoint, pytest.raises(CheckpointError, match="No space left"):
        quantization(checkpoint, "Q4_0").write(tmp_path / "q.gguf")
    assert not list(tmp_path.iterdir())


def test_an_interruption_leaves_nothing(original: Path, tmp_path: Path) -> None:
    seen = 0

    def interrupt(elements: int) -> None:
        nonlocal seen
        seen += elements
        if seen > 1_000_000:
            raise KeyboardInterrupt

    with Checkpoint(original) as checkpoint, pytest.raises(KeyboardInterrupt):
        quantization(checkpoint, "Q4_0").write(tmp_path / "q.gguf", progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_too_little_space_is_said_before(original: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with Checkpoint(original) as checkpoint, pytest.raises(CheckpointError, match="too little space"):
        quantization(checkpoint, "Q4_0").write(tmp_path / "q.gguf")


def test_the_report(original: Path, tmp_path: Path, shared: Path) -> None:
    text = shared / "data/text/tinystories_sample.txt"
    shown = run(original, tmp_path, "Q8_0,Q4_0", "--report", text, "--chunks", "1", "--plot", tmp_path / "loss.svg")
    assert shown.exit_code == 0, shown.output
    q8, q4 = (next(line.split() for line in shown.stdout.splitlines() if line.startswith(t)) for t in ("Q8_0", "Q4_0"))
    assert 0 <= float(q8[5]) < float(q4[5]) and float(q8[3]) > float(q4[3])
    assert (tmp_path / "loss.svg").read_text().count("<circle") == 2
