"""Every type of file that Heron quantizes, in llama.cpp: it opens it, weighs it as its own, and computes what Heron does."""

from __future__ import annotations

from pathlib import Path

import llama_cpp_peer as peer
import numpy as np
import pytest
from numpy.typing import NDArray

import heron
from heron.backends import native
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.imatrix import ImportanceMatrix
from heron.convert.quantize import quantization
from heron.quant.mixes import FILE_TYPES

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not native.available(), reason="the core is not compiled")]

#: Of log-probabilities: both round activations to eight bits a block before they multiply, in ways of their own; not beside plain formats.
AS_SHIPPED, PLAIN = 0.15, 0.02

#: Our mean distance from the exact forward, in llama.cpp's: both make errors of one size.
NO_FURTHER = 1.15

#: Types that this llama.cpp does not write, or open.
UNKNOWN = ("NVFP4",)


def log_softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("type", [type for type in FILE_TYPES if type not in UNKNOWN])
def test_llama_cpp_computes_the_same(type: str, original: Path, importance: ImportanceMatrix, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    path = tmp_path / "q.gguf"
    with Checkpoint(original) as checkpoint:
        quantization(checkpoint, type, imatrix=importance).write(path)
    tokens = np.random.default_rng(0).integers(5, 1500, 80).tolist()
    model, exact_model = heron.load(path, kv_dtype="f32"), heron.load(path, backend="reference", kv_dtype="f32")
    ours, theirs, exact = (log_softmax(x) for x in (model.logits(tokens), peer.logits(path, tokens), exact_model.logits(tokens)))
    top20 = theirs >= np.sort(theirs, axis=-1)[:, -20:-19]
    assert np.abs(ours - theirs)[top20].max() <= (PLAIN if type in ("F32", "F16", "BF16") else AS_SHIPPED)
    assert np.abs(ours - exact)[top20].mean() <= NO_FURTHER * np.abs(theirs - exact)[top20].mean() + 1e-5
    model.close()


def test_sizes_are_those_of_llama_cpps_own_files(shared: Path, tmp_path: Path) -> None:
    """The shared files, one a type, that llama.cpp wrote: quantized from the same model they hold the same formats."""
    folder = shared / "data/quants"
    with Checkpoint(folder / "tiny-F32.gguf") as source:
        everything = ImportanceMatrix()
        for name, tensor in source.tensors.items():
            if name.startswith("blk") and tensor.ndim == 2:
                everything.add(name, np.ones(tensor.shape[1]), np.ones(1))
        held = 0
        for path in sorted(folder.glob("tiny-*.gguf")):
            type = path.stem.removeprefix("tiny-")
            theirs = {name: tensor.format for name, tensor in Checkpoint(path).tensors.items()}
            given = [everything] if "IQ" in type or type == "Q2_K_S" else [everything, None]
            planned = [quantization(source, type, imatrix=matrix) for matrix in given]
            assert theirs in [{item.name: item.format for item in each.items} for each in planned], type
            held += 1
    assert held >= 30
