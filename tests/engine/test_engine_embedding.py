"""An engine's vectors: those of the model alone, with texts being generated beside them."""

from __future__ import annotations

import asyncio

import numpy as np
import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make
from tiny_word_pieces import write_word_pieces

import heron
from heron.backends import native
from heron.backends.base import Done
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import BackendError, RequestError

#: Encoders, an encoder-decoder, decoders with full attention, windows and recurrent states.
KINDS = ["bert", "t5", "llama3", "gemma3", "qwen3next"]

PROMPTS = [parity.prompt(60, length, length) for length in (5, 40, 1, 37, 12)]


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    if request.param == "bert":
        write_word_pieces(made.folder)
    encodes = request.param == "bert"
    backend = "native" if native.available() else "reference"
    return heron.load(made.folder if encodes else write_tiny(made.folder), backend=backend, threads=1, ctx_size=0 if encodes else 128)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_vectors_are_the_models_own(model: Model, pooling: str) -> None:
    expected = model.embed(PROMPTS, pooling)
    with Engine(model, step_tokens=16, kv_cache_size=96) as engine:
        got = engine.embed(PROMPTS, pooling)
        assert got.dtype == np.float32
        assert np.abs(got - expected).max() <= 2e-6
        assert engine.embed([]).shape == (0, model.graph_model.hidden_size)
        assert np.abs(np.linalg.norm(engine.embed(PROMPTS, pooling, normalize=False), axis=1) - 1).min() > 1e-3
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


def test_texts_are_generated_meanwhile(model: Model) -> None:
    """Many askers of vectors beside streams: the vectors are right and so is what is generated."""
    if model.is_encoder:
        pytest.skip("an encoder generates no text")
    vectors, how = model.embed(PROMPTS), {"temperature": 0, "max_tokens": 30, "ignore_eos": True}
    texts = [model.generate(prompt, **how).tokens for prompt in PROMPTS]

    async def tokens(engine: Engine, prompt: list[int]) -> list[int]:
        return [piece.token async for piece in engine.astream(prompt, **how)]

    async def both(engine: Engine) -> None:
        streams = asyncio.gather(*(tokens(engine, prompt) for prompt in PROMPTS))
        for got in await asyncio.gather(*(engine.aembed(PROMPTS) for _ in range(4))):
            assert np.abs(got - vectors).max() <= 2e-6
        assert await streams == texts

    with Engine(model, step_tokens=16, max_seqs=4, kv_cache_size=200) as engine:
        asyncio.run(both(engine))


def test_a_text_that_is_given_up_leaves_nothing(model: Model) -> None:
    async def given_up(engine: Engine) -> None:
        task = asyncio.create_task(engine.aembed(PROMPTS * 20))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (await engine.aembed(PROMPTS[:1])).shape[0] == 1

    with Engine(model) as engine:
        asyncio.run(given_up(engine))
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


def test_a_vector_that_is_not_finite_fails_alone(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = model.executable.submit

    def broken(entry, batch, want=("logits",)):  # type: ignore[no-untyped-def]
        result = submit(entry, batch, want).result()
        for name in {"hidden", "normed"} & set(result.arrays):
            result[name][np.flatnonzero(batch.tokens == 7)] = np.nan
        return Done(result)

    with Engine(model) as engine:
        good = engine.embed([[5, 6]])
        monkeypatch.setattr(model.executable, "submit", broken)
        with pytest.raises(BackendError, match="not finite"):
            engine.embed([[5, 6], [7]])
        assert np.abs(engine.embed([[5, 6]]) - good).max() <= 2e-6


def test_what_is_refused(model: Model) -> None:
    with Engine(model, kv_cache_size=64) as engine:
        with pytest.raises(RequestError, match="text 1: the prompt is empty"):
            engine.embed([[5], []])
        with pytest.raises(RequestError, match="no pooling 'max'"):
            engine.embed([[5]], "max")
        if "encode" not in model.graph_model.entries:
            with pytest.raises(RequestError, match="a text has 65 tokens, the cache holds 64"):
                engine.embed([[5] * 65])
        if model.is_encoder:
            with pytest.raises(RequestError, match="is an encoder"):
                engine.submit([5])
    with pytest.raises(RequestError, match="closed"):
        engine.embed([[5]])
