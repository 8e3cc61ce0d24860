"""An engine over a model whose layers are divided between the CPU and a device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import RequestError

HOW: dict[str, Any] = {"max_tokens": 30, "ignore_eos": True}


@pytest.fixture(scope="module", params=["gemma3", "qwen3next"])
def path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(make(request.param, tmp_path_factory.mktemp(request.param)).folder)


def divided(path: Path, layers: int) -> Model:
    options: dict[str, Any] = {"threads": 1, "ctx_size": 128, "kv_dtype": "f32", "activations": "f32"}
    return heron.load(path, gpu_layers=layers, device="cpu", **options)


@pytest.mark.parametrize("guess", ["off", "ngram"])
def test_requests_together_get_what_each_gets_alone(path: Path, guess: str) -> None:
    whole, parts = divided(path, 0), divided(path, 2)
    assert "torch" in parts.backend and whole.backend == parts.backend.partition("+")[0]
    common = parity.prompt(60, 35)
    prompts = [(common if i % 2 else []) + parity.prompt(60, 3 + 9 * i, i) for i in range(6)]
    alone = [whole.generate(prompt, seed=i, **HOW).tokens for i, prompt in enumerate(prompts)]
    assert [parts.generate(prompt, seed=i, **HOW).tokens for i, prompt in enumerate(prompts)] == alone
    with Engine(parts, max_seqs=4, step_tokens=24, kv_cache_size=256, speculate=guess) as engine:
        requests = [engine.submit(prompt, seed=i, **HOW) for i, prompt in enumerate(prompts)]
        while engine.step():
            pass
        assert [request.result().tokens for request in requests] == alone
        again = engine.submit(prompts[5], seed=5, **HOW)
        while engine.step():
            pass
        assert again.result().tokens == alone[5] and again.timings.cached_tokens
    assert parts.generate(prompts[0], seed=0, **HOW).tokens == alone[0]


def test_a_cache_is_measured_by_each_memory(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which part is full is what counts: here the device's, of which there is little."""
    from heron.backends.torch import executable

    monkeypatch.setattr(executable, "free_bytes", lambda device: 200_000)
    with pytest.raises(RequestError, match=r"a context of 100000 tokens needs .* GiB of cache and 0\.0 GiB are free"):
        heron.load(path, gpu_layers=2, device="cpu", ctx_size=100_000)
    model = divided(path, 2)
    on_device = model.executable.memories[1]
    assert on_device.free == 200_000 and model.executable.memories[0].free is None
    with Engine(model, max_seqs=16) as engine:
        held = sum(engine.cache.total(group.name) * group.unit_bytes for group in on_device.groups)
        assert 0 < held <= 200_000
    with pytest.raises(RequestError, match=r"needs .* and 0\.0 are free"):
        Engine(model, max_seqs=16, kv_cache_size=1 << 20)
