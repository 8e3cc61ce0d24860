"""Perplexity and divergence, beside transformers' own figures for the same windows."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM
from typer.testing import CliRunner

import heron
from heron.cli import app
from heron.engine.model import Model
from heron.errors import RequestError
from heron.evaluate.perplexity import measure
from heron.evaluate.windows import windows

LENGTH = 64


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "data/tinystories-656K"


@pytest.fixture(scope="module")
def text(shared: Path) -> Path:
    return shared / "data/text/tinystories_sample.txt"


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[Model]:
    loaded = heron.load(folder, ctx_size=256, kv_dtype="f32")
    yield loaded
    loaded.close()


def expected(folder: Path, model: Model, text: str) -> list[torch.Tensor]:
    """Of each window transformers' log-probabilities [scored, vocab] in front of each predicted token."""
    peer = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    found = []
    with torch.no_grad():
        for window in windows(model, text, LENGTH):
            logits = peer(torch.tensor([window.tokens])).logits[0, window.begin - 1 : -1]
            found.append(logits.double().log_softmax(-1))
    return found


def test_perplexity_is_transformers(folder: Path, model: Model, text: Path) -> None:
    parts = windows(model, text.read_text(), LENGTH)
    losses = []
    for window, logs in zip(parts, expected(folder, model, text.read_text()), strict=True):
        assert len(window.tokens) == LENGTH and window.scored == LENGTH // 2 - 1 == len(logs)
        losses += [-float(row[token]) for row, token in zip(logs, window.tokens[window.begin :], strict=True)]
    (*_, got) = measure(model, parts)
    assert got.likelihood.tokens == len(losses)
    assert got.likelihood.mean == pytest.approx(np.mean(losses), rel=1e-5)
    assert got.likelihood.error == pytest.approx(math.exp(np.mean(losses)) * np.std(losses, ddof=1) / len(losses) ** 0.5, rel=1e-4)


def test_windows_begin_with_the_models_own_token(model: Model, text: Path) -> None:
    first = model.tokenizer.prefix
    ids = model.tokenizer.encode(text.read_text())
    for i, window in enumerate(windows(model, text.read_text(), LENGTH)):
        assert list(window.tokens) == [*first, *ids[i * LENGTH + len(first) : (i + 1) * LENGTH]]


def test_divergence_of_a_damaged_model(folder: Path, model: Model, text: Path, tmp_path: Path) -> None:
    """Against sums over transformers' distributions of both; a model beside itself has none."""
    peer = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        torch.manual_seed(1)
        for parameter in peer.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    peer.save_pretrained(tmp_path)
    for file in folder.iterdir():
        if file.name not in ("model.safetensors", "config.json"):
            (tmp_path / file.name).write_bytes(file.read_bytes())
    damaged = heron.load(tmp_path, ctx_size=256, kv_dtype="f32")
    parts = windows(model, text.read_text(), LENGTH)
    p, q = (torch.cat(expected(where, model, text.read_text())) for where in (folder, tmp_path))
    nats = (p.exp() * (p - q)).sum(-1)
    tokens = torch.tensor([token for window in parts for token in window.tokens[window.begin :]])[:, None]
    shift = (q.gather(1, tokens).exp() - p.gather(1, tokens).exp()).square().mean().sqrt()
    (*_, got) = measure(damaged, parts, model)
    (*_, same) = measure(model, parts, model)
    damaged.close()
    assert got.divergence is not None and same.divergence is not None
    assert got.divergence.mean == pytest.approx(float(nats.mean()), rel=1e-3) and float(nats.mean()) > 0.01
    assert got.divergence.quantile(1.0) == pytest.approx(float(nats.max()), rel=1e-3)
    assert got.divergence.top_agreement == pytest.approx(float((p.argmax(-1) == q.argmax(-1)).double().mean()), abs=1.01 / len(nats))
    assert got.divergence.rms_shift == pytest.approx(float(shift), rel=1e-3)
    assert same.divergence.mean == 0 and same.divergence.top_agreement == 1 and same.divergence.rms_shift == 0
    assert got.base.mean == same.likelihood.mean


def test_the_command(folder: Path, text: Path, shared: Path) -> None:
    asked = ["perplexity", str(folder), str(text), "-c", str(LENGTH), "--chunks", "3", "--kl-base", str(folder)]
    shown = CliRunner().invoke(app, [*asked, "--json"])
    found = json.loads(shown.stdout)
    assert found["windows"] == 3 and found["tokens"] == 3 * (LENGTH // 2 - 1) and found["kl"] == 0 and found["top_agreement"] == 1
    assert "perplexity" in CliRunner().invoke(app, asked).stdout


@pytest.mark.parametrize(
    ("length", "most", "given", "message"),
    [
        (2, None, "a b c d e f", "too short"),
        (1000, None, "a b c d e f", "context of 256"),
        (64, 0, "a b c d e f", "at least 1"),
        (64, None, "a", "tokens"),
    ],
)
def test_what_cannot_be_measured(model: Model, length: int, most: int | None, given: str, message: str) -> None:
    with pytest.raises(RequestError, match=message):
        windows(model, given, length, most)


def test_two_vocabularies_are_not_compared(model: Model, text: Path) -> None:
    from heron import pocket

    other = heron.load(pocket.path())
    with pytest.raises(RequestError, match="one vocabulary"):
        next(measure(model, windows(model, text.read_text(), LENGTH), other))
    other.close()
