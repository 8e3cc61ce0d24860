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

if native.available():
    from heron import _core

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


#: Every file of data/quants, by llama.cpp's names of its mixtures.
FILES = [
    "F32",
    "F16",
    "BF16",
    "Q4_0",
    "Q4_1",
    "Q5_0",
    "Q5_1",
    "Q8_0",
    "Q2_K",
    "Q2_K_S",
    "Q3_K_S",
    "Q3_K_M",
    "Q3_K_L",
    "Q4_K_S",
    "Q4_K_M",
    "Q5_K_S",
    "Q5_K_M",
    "Q6_K",
    "IQ1_S",
    "IQ1_M",
    "IQ2_XXS",
    "IQ2_XS",
    "IQ2_S",
    "IQ2_M",
    "IQ3_XXS",
    "IQ3_XS",
    "IQ3_S",
    "IQ3_M",
    "IQ4_NL",
    "IQ4_XS",
    "TQ1_0",
    "TQ2_0",
    "MXFP4_MOE",
]

#: A linear's mean square error, in the mean square of its exact results: what rounding activations to int8 may cost.
NMSE = 5e-4


def test_no_file_is_left_out(shared: Path) -> None:
    assert {f"tiny-{name}.gguf" for name in FILES} == {file.name for file in (shared / "data/quants").glob("*.gguf")}


@pytest.mark.parametrize("name", FILES)
def test_formats_of_weights(name: str, shared: Path) -> None:
    """The reference is exact, native code with f32 activations too, and as shipped it is near llama.cpp."""
    expected = json.loads((shared / "data/quants/expected.json").read_text())
    file = shared / f"data/quants/tiny-{name}.gguf"
    prompt, theirs = expected["prompt"], expected["models"][file.name]["top_logprobs"]
    exact = Llama(file).logprobs(prompt)[-1]
    meant = Line(reference.prepare(build_model(Checkpoint(file)), options=Options(kv_dtype="f32")), len(prompt)).push(prompt)
    assert np.abs(meant - exact).max() < 1e-3
    unrounded = Line(prepare(file, activations="f32", kv_dtype="f32"), len(prompt)).push(prompt)
    assert np.abs(unrounded - meant).max() < 1e-3
    shipped = Line(prepare(file), len(prompt)).push(prompt)
    bound = 0.02 if name in ("F32", "F16", "BF16") else 0.15
    assert max(abs(float(shipped[token]) - logprob) for token, logprob in theirs) < bound


@pytest.mark.parametrize("isa", _core.instruction_sets() if native.available() else [])
@pytest.mark.parametrize("name", FILES)
def test_every_linear_as_shipped_is_near_the_exact_product(name: str, isa: str, shared: Path) -> None:
    """On the activations that each matrix meets in the exact forward."""
    file = shared / f"data/quants/tiny-{name}.gguf"
    exact, checkpoint = Llama(file), Checkpoint(file)
    exact.logprobs(json.loads((shared / "data/quants/expected.json").read_text())["prompt"])
    assert len(exact.products) == 7 * int(exact.keys["block_count"]) + 1
    for weight, x in exact.products:
        tensor = checkpoint.tensors[weight]
        matrix = _core.Packed(tensor.format.id, isa, *tensor.shape)
        matrix.pack(0, tensor.rows())
        meant = x @ exact.tensors[weight].T
        error = matrix.linear(x.astype(np.float32)) - meant
        assert (error**2).sum() <= NMSE * (meant**2).sum(), weight


def test_distance_from_exact_is_no_larger_than_llama_cpps(shared: Path) -> None:
    """The mean over all files, of 20 log-probabilities each; a file's own mean is noise of the activations' rounding in both."""
    expected = json.loads((shared / "data/quants/expected.json").read_text())
    prompt, ours, theirs = expected["prompt"], [], []
    for name in FILES:
        file = shared / f"data/quants/tiny-{name}.gguf"
        exact, shipped = Llama(file).logprobs(prompt)[-1], Line(prepare(file), len(prompt)).push(prompt)
        for token, logprob in expected["models"][file.name]["top_logprobs"]:
            ours.append(abs(shipped[token] - exact[token]))
            theirs.append(abs(logprob - exact[token]))
    assert np.mean(ours) <= np.mean(theirs)
