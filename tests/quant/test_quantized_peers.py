"""llama.cpp opens what Heron quantizes, and computes what Heron does with it."""

from __future__ import annotations

import json
from pathlib import Path

import llama_cpp_peer as peer
import numpy as np
import pytest
from numpy.typing import NDArray

import heron
from heron.backends import native
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not native.available(), reason="the core is not compiled")]

#: Of log-probabilities. Both round activations to eight bits a block before they multiply, in ways of their own.
AS_SHIPPED = 0.15

#: Our mean distance from the exact forward, in llama.cpp's: both make errors of one size, whose means differ by some percent.
NO_FURTHER = 1.15


def quantized(tensor: Tensor, format: str) -> Tensor:
    """Matrices whose rows are whole blocks, as the format has them; others as they are."""
    target = FORMATS[format]
    if len(tensor.shape) < 2 or tensor.shape[-1] % target.block:
        return tensor
    return MappedTensor(quantize(target, tensor.numpy()).reshape(-1), tensor.shape, target)


def log_softmax(x: NDArray[np.float32]) -> NDArray[np.float32]:
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


@pytest.mark.parametrize("format", ["Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "MXFP4"])
def test_a_quantized_file_gives_llama_cpps_log_probabilities(format: str, shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    source = shared / "data/stories/stories260K-f32.gguf"
    checkpoint, path = Checkpoint(source), tmp_path / f"stories-{format}.gguf"
    write_gguf(path, checkpoint.metadata, {name: quantized(tensor, format) for name, tensor in checkpoint.tensors.items()})
    assert sum(tensor.format.name == format for tensor in Checkpoint(path).tensors.values()) > 30

    stories = json.loads((shared / "data/stories/expected.json").read_text()).values()
    texts = [story["prompt_tokens"] + story["tokens"] for story in stories]
    model, reference = heron.load(path, kv_dtype="f32"), heron.load(path, backend="reference", kv_dtype="f32")
    ours = log_softmax(np.concatenate([model.logits(text) for text in texts]))
    theirs = log_softmax(np.concatenate([peer.logits(path, text) for text in texts]))
    exact = log_softmax(np.concatenate([reference.logits(text) for text in texts]))

    likeliest = np.arange(len(exact)), exact.argmax(axis=-1)
    assert np.abs(ours - theirs)[likeliest].max() <= AS_SHIPPED
    top20 = exact >= np.sort(exact, axis=-1)[:, -20:-19]
    assert np.abs(ours - exact)[top20].mean() <= NO_FURTHER * np.abs(theirs - exact)[top20].mean()
