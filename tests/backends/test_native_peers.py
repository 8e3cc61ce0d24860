"""The native backend on whole checkpoints: llama.cpp's tokens and log-probabilities, which nobody here computed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from float64_llama import Llama
from numpy.typing import NDArray

from heron.backends import native, reference
from heron.backends.base import Executable, Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import build_model

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")

Floats = NDArray[np.float32]


class Line:
    """One sequence in an executable: log-probabilities after the last of its tokens, step by step."""

    def __init__(self, executable: Executable, tokens: int) -> None:
        self.executable, self.done = executable, 0
        groups = executable.state_groups
        units = {g.name: -(-tokens // g.block_size) + 1 for g in groups}
        self.tables = {name: np.arange(1, n, dtype=np.int32)[None] for name, n in units.items()}
        executable.allocate(units)

    def push(self, tokens: Sequence[int]) -> Floats:
        n = len(tokens)
        self.done += n
        last, context = np.array([n - 1], np.int32), np.array([self.done], np.int32)
        batch = Batch(np.asarray(tokens, np.int32), np.array([0, n], np.int32), context, last, tables=self.tables)
        return log_softmax(self.executable.run("forward", batch)["logits"][0])


def log_softmax(x: Floats) -> Floats:
    x = x - x.max()
    return np.asarray(x - np.log(np.exp(x).sum()), np.float32)


def prepare(file: Path, **options: str) -> Executable:
    return native.prepare(build_model(Checkpoint(file)), options=Options(threads=2, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("kv_dtype", ["f16", "f32"])
def test_greedy_tokens_of_a_trained_model(kv_dtype: str, shared: Path) -> None:
    executable = prepare(shared / "data/stories/stories260K-f32.gguf", kv_dtype=kv_dtype)
    errors = []
    for case in json.loads((shared / "data/stories/expected.json").read_text()).values():
        line = Line(executable, 256)
        logprobs = line.push(case["prompt_tokens"])
        for token, expected in zip(case["tokens"], case["logprobs"], strict=True):
            assert int(logprobs.argmax()) == token
            errors.append(abs(float(logprobs[token]) - expected))
            logprobs = line.push([token])
    assert np.quantile(errors, 0.99) < 0.005
    if kv_dtype == "f32":  # llama.cpp rounds keys, values and queries to f16: its roundings and ours may add up, or not
        assert max(errors) < 0.005


FORMATS = ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K"]


@pytest.mark.parametrize("format", FORMATS)
def test_formats_of_weights(format: str, shared: Path) -> None:
    """The reference is exact, native code with f32 activations too, and as shipped it is near llama.cpp."""
    expected = json.loads((shared / "data/quants/expected.json").read_text())
    file = shared / f"data/quants/tiny-{format}.gguf"
    prompt, theirs = expected["prompt"], expected["models"][file.name]["top_logprobs"]
    exact = Llama(file).logprobs(prompt)[-1]
    meant = Line(reference.prepare(build_model(Checkpoint(file)), options=Options(kv_dtype="f32")), len(prompt)).push(prompt)
    assert np.abs(meant - exact).max() < 1e-3
    unrounded = Line(prepare(file, activations="f32", kv_dtype="f32"), len(prompt)).push(prompt)
    assert np.abs(unrounded - meant).max() < 1e-3
    shipped = Line(prepare(file), len(prompt)).push(prompt)
    bound = 0.15 if format.startswith("Q") else 0.02
    assert max(abs(float(shipped[token]) - logprob) for token, logprob in theirs) < bound


def test_distance_from_exact_is_no_larger_than_llama_cpps(shared: Path) -> None:
    """The mean over all formats, of 20 log-probabilities each; a format's own mean is noise of the activations' rounding in both."""
    expected = json.loads((shared / "data/quants/expected.json").read_text())
    prompt, ours, theirs = expected["prompt"], [], []
    for format in FORMATS:
        file = shared / f"data/quants/tiny-{format}.gguf"
        exact, shipped = Llama(file).logprobs(prompt)[-1], Line(prepare(file), len(prompt)).push(prompt)
        for token, logprob in expected["models"][file.name]["top_logprobs"]:
            ours.append(abs(shipped[token] - exact[token]))
            theirs.append(abs(logprob - exact[token]))
    assert np.mean(ours) <= np.mean(theirs)
