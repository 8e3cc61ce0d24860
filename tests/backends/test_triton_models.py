"""Whole models through Triton's kernels, interpreted: the logits are transformers', and the reference's where caches round."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import parity
import pytest

pytest.importorskip("triton")

import torch
from device import DEVICE
from encoded import Encoded, differences
from test_torch_capture import Again
from tiny_models import make
from toy import VOCAB, Sequences, toy
from triton_cases import interpreted

from heron.backends import reference
from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options
from heron.backends.torch import capture
from heron.backends.torch.step import TRITON
from heron.checkpoint.checkpoint import Checkpoint
from heron.graph.graph import Model
from heron.models.registry import build_model

STEPS: list[dict[int, int]] = [{0: 30, 1: 7}, {1: 1, 0: 1}, {0: 3, 1: 3}, {0: 27, 1: 29}]


KINDS = ["llama", "gemma3-capped", "gpt-oss", "deepseek2"]


def prepared(model: Model, options: Options) -> Executable:
    return on_torch.prepare(model, options=options)


@interpreted
@pytest.mark.parametrize("family", KINDS)
def test_families(family: str) -> None:
    """Grouped queries; windows beside full attention; caps; sinks; latent attention: a whole prompt, and a mixture of steps."""
    with tempfile.TemporaryDirectory() as folder:
        made = make(family, Path(folder))
        model, options = build_model(Checkpoint(made.folder)), Options(kv_dtype="f32")
        sequences = [parity.prompt(model.vocab_size, n, n) for n in (20, 12, 6)]
        expected = [made.expected(tokens) for tokens in sequences]
        got = parity.whole(parity.Runner(model, prepared, options), sequences[0])
        assert parity.difference(got, expected[0]) <= parity.TOLERANCE
        for got, wanted in zip(parity.ragged(parity.Runner(model, prepared, options), sequences), expected, strict=True):
            assert parity.difference(got, wanted) <= parity.TOLERANCE
    assert {"attend", "latent_attend", "rope", "rope_attention", "rms_norm"} <= TRITON.keys()  # they were there to be taken


@interpreted
def test_an_encoder() -> None:
    with tempfile.TemporaryDirectory() as folder:
        model = build_model(Checkpoint(make("bert", Path(folder)).folder))
        found = Encoded(model, prepared, Options(kv_dtype="f32")).results()
        assert max(differences(found, Encoded(model).results())) <= parity.TOLERANCE


@interpreted
@pytest.mark.parametrize(("kv_dtype", "bound"), [("f16", 0.01), ("q8_0", 0.1)])
def test_caches_that_round(kv_dtype: str, bound: float) -> None:
    """A mixture of prompts, drafts and single tokens, whose windows slide."""
    model, options = toy("F32", 2), Options(kv_dtype=kv_dtype)
    rng = np.random.default_rng(1)
    tokens = [rng.integers(0, VOCAB, n).astype(np.int32) for n in (61, 40)]
    logits = []
    for backend in (on_torch, reference):
        sequences = Sequences(backend.prepare(model, options=options), model, tokens)
        logits.append(np.concatenate([y for step in STEPS for y in sequences.run(step, slide=True).values()]))
    assert parity.difference(*logits) <= bound


@interpreted
def test_recorded_steps() -> None:
    """Launches depend on shapes alone: replayed on other numbers they compute other answers, windows included."""
    model, options, recorder = toy("F32", 2), Options(kv_dtype="f32", fuse=True), Again(capture.recorder(torch.device(DEVICE)))
    rng = np.random.default_rng(1)
    tokens = [rng.integers(0, VOCAB, n).astype(np.int32) for n in (34, 14)]
    with patch.object(capture, "recorder", lambda device: recorder):
        prepared_twice = on_torch.prepare(model, options=options), reference.prepare(model, options=options)
        assert "rope_attention" in {node.op for node in prepared_twice[0]._graphs["forward"].nodes}
        got, expected = (Sequences(executable, model, tokens) for executable in prepared_twice)
        for step in ({0: 28, 1: 8}, *[{0: 1, 1: 1}] * 3, {0: 2}):
            ys, wanted = got.run(step), expected.run(step)
            assert all(parity.difference(ys[s], wanted[s]) <= parity.TOLERANCE for s in step)
    np.testing.assert_equal((recorder.recorded, recorder.replayed), (2, 4))
