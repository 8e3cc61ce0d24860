"""Gradients of all parameters are transformers' own, also where layers are computed once more for them; a recurrence's do not
depend on its chunks."""

from __future__ import annotations

from pathlib import Path

import parity
import pytest
import torch
from gradients import assert_equal, expected_gradients, gradients, joined, loss_of, prompts
from tiny_encoders import BERTS
from tiny_models import EVERY, make

from heron.backends.torch import recurrent
from heron.backends.torch.training import trainable


def check(made: parity.Tiny, folder: Path) -> None:
    tokens = prompts()
    expected = expected_gradients(made, tokens, folder)
    assert sum(grad.any() for grad in expected.values()) > 10
    for recompute in (False, True):
        assert_equal(joined(gradients(trainable(made.folder, recompute=recompute), tokens), expected), expected)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "qwen3next"])
def test_gradients_are_those_of_transformers(name: str, tmp_path: Path) -> None:
    check(make(name, tmp_path / "model"), tmp_path)


def test_gradients_of_delta_nets(tmp_path: Path) -> None:
    """Another seed than elsewhere: with that one rounding is amplified so that transformers' gradients in f32 and in f64 differ by 1e-4."""
    check(parity.tiny(EVERY["qwen3next"](), tmp_path / "model", seed=1), tmp_path)


@pytest.mark.parametrize("name", BERTS)
def test_gradients_of_encoders(name: str, tmp_path: Path) -> None:
    made, tokens = make(name, tmp_path / "model"), prompts()
    model = trainable(made.folder)
    mixed = torch.randn(*tokens.shape, made.hf.config.hidden_size, generator=torch.Generator().manual_seed(0))
    expected = expected_gradients(made, tokens, tmp_path, lambda hf, tokens: (hf(tokens).last_hidden_state * mixed).sum())
    (model.outputs(tokens, want=("hidden",))["hidden"] * mixed).sum().backward()
    got = joined({n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}, expected)
    assert expected.keys() - got.keys() <= {"token_types.weight"}  # of which the file stores more rows than the model uses
    assert_equal(got, {n: grad for n, grad in expected.items() if n in got})


@pytest.mark.parametrize("name", ["qwen3next", "mamba", "mamba2", "mamba2-limited"])
def test_sizes_of_chunks_change_nothing(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, tokens = parity.tiny(EVERY[name](), tmp_path / "model", seed=1), prompts(length=33)
    model = trainable(made.folder)
    expected = gradients(model, tokens)
    for size in (1, 8, 33):
        monkeypatch.setattr(recurrent, "CHUNK", size)
        assert_equal(gradients(model, tokens), expected)


def test_long_prompts_of_recurrences_stay_finite(tmp_path: Path) -> None:
    """Decays over hundreds of tokens underflow, and nothing divides by them."""
    for name in ("qwen3next", "mamba", "mamba2"):
        made, tokens = parity.tiny(EVERY[name](), tmp_path / name, seed=1), prompts(length=300)
        model = trainable(made.folder)
        loss = loss_of(model(tokens), tokens)
        loss.backward()
        assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
        with torch.no_grad():
            assert loss_of(made.hf(tokens, use_cache=False).logits, tokens).item() == pytest.approx(loss.item(), rel=1e-4)
