"""What does not fit is an error that says so: at the start, for a prompt, or for the one request that runs out of room."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.backends import native
from heron.engine import forecast, memory
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import NoRoom, RequestError

HOW: dict[str, Any] = {"max_tokens": 60, "ignore_eos": True, "temperature": 0}


@pytest.fixture(scope="module", params=["llama3", "mamba2", "qwen3next"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return heron.load(write_tiny(make(request.param, tmp_path_factory.mktemp(request.param)).folder), threads=1, ctx_size=128)


def drive(engine: Engine) -> None:
    for _ in range(500):
        if not engine.step():
            return
    raise AssertionError("the engine does not come to an end")


def test_a_cache_that_memory_does_not_hold(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(memory, "available_bytes", lambda: 200_000)
        with pytest.raises(
            RequestError, match=r"a cache of 100000 tokens for 500 sequences needs .* GiB and .* are free; ask for a smaller"
        ):
            Engine(model, kv_cache_size=100_000, max_seqs=500)
    assert len(model.generate([5], **HOW).tokens) == 60


def test_a_cache_without_a_size_takes_what_fits(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    free = 600_000
    monkeypatch.setattr(memory, "available_bytes", lambda: free)
    with Engine(model) as engine:
        held = sum(engine.cache.total(g.name) * g.unit_bytes for g in engine.cache.groups.values())
        assert 0 < held <= free
        assert engine.context_length == 128
        engine.generate([[5]], **HOW)


@pytest.mark.parametrize("at_first", [1, 0], ids=["while it goes on", "from the beginning"])
def test_a_request_that_the_whole_cache_has_no_room_for_ends_alone(model: Model, at_first: int) -> None:
    """It cannot come to this by what ``submit`` checks; if it does, nobody hangs."""
    with Engine(model, max_seqs=2) as engine:
        request = engine.submit([5, 6, 7], **HOW)
        for _ in range(at_first):
            engine.step()
        if at_first and model.executable.state_groups[0].kind == "slot":
            engine.scheduler._preempt(request)  # it would have its one slot for ever
        gone = {name: engine.cache._free[name] for name in engine.cache.groups}
        for name in gone:
            engine.cache._free[name] = []
        drive(engine)
        with pytest.raises(RequestError, match="the cache has no room for more than"):
            request.result()
        for name, units in gone.items():
            engine.cache._free[name] += units
        later = engine.submit([5, 6, 7], **HOW)
        drive(engine)
        assert len(later.result().tokens) == 60
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


def test_a_request_may_fill_the_cache_to_its_last_token(model: Model) -> None:
    with Engine(model, kv_cache_size=48, max_seqs=3) as engine:
        requests = [engine.submit(list(range(3, 40)), max_tokens=100, ignore_eos=True) for _ in range(3)]
        drive(engine)
        assert [len(request.result().tokens) for request in requests] == [11] * 3  # 37 and 11 are 48
        with pytest.raises(RequestError, match="the prompt has 48 tokens, the context holds 48"):
            engine.submit([5] * 48)


def test_learned_positions_are_a_limit(tmp_path: Path) -> None:
    path = write_tiny(make("gpt2", tmp_path).folder)
    with pytest.raises(RequestError, match="ctx_size 65 is more than this model has positions for, 64"):
        heron.load(path, ctx_size=65)


def test_weights_that_memory_does_not_hold(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the context: the system would end the program while they are loaded."""
    path = model.checkpoint.path
    monkeypatch.setattr(forecast, "available_bytes", lambda: 40_000)
    monkeypatch.setattr(forecast, "swap_bytes", lambda: 0)
    with pytest.raises(NoRoom, match=r"^the weights take .* GiB and .* are free; a smaller quantization takes less"):
        heron.load(path, threads=1, ctx_size=128)
    monkeypatch.setattr(forecast, "swap_bytes", lambda: 1 << 30)
    assert heron.load(path, threads=1, ctx_size=128).generate([5], **HOW).tokens == model.generate([5], **HOW).tokens


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
def test_weights_that_stay_in_the_file_need_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_tiny(make("llama3", tmp_path).folder)
    held = sum(tensor.nbytes for tensor in heron.Checkpoint(path).tensors.values())
    monkeypatch.setattr(forecast, "available_bytes", lambda: held // 4)
    monkeypatch.setattr(forecast, "swap_bytes", lambda: 0)
    with pytest.raises(NoRoom, match="--no-repack"):
        heron.load(path, backend="native", threads=1)
    assert len(heron.load(path, backend="native", threads=1, repack=False).generate([5], **HOW).tokens) == 60
