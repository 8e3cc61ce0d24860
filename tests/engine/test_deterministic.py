"""Deterministic mode: an answer's tokens and log-probabilities are the same to the last bit, whatever happens around it."""

from __future__ import annotations

import random
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import DECODERS, OTHERS, make
from tiny_word_pieces import write_word_pieces

import heron
from heron.backends import native
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import UnsupportedError

pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled core")

#: Attention of all kinds, recurrent states, experts, latents, an encoder's output.
KINDS = ["llama3", "gemma3", "qwen3moe", "gpt-oss", "deepseek2", "mamba2", "falcon-mamba", "qwen3next", "bloom", "t5"]

#: What multiplies differently: by blocks of 32 and of 256, by table, in whole numbers of few bits, in halves.
FORMATS = ["Q4_K_M", "Q8_0", "IQ2_S", "TQ1_0", "BF16"]

Asked = tuple[list[int], dict[str, Any]]
Answered = tuple[list[int], list[float], str]


def asked(count: int, rng: random.Random) -> list[Asked]:
    """Some prompts begin alike; some requests are greedy, some sampled by a seed, with and without penalties."""
    common = parity.prompt(60, 40)
    found = []
    for i in range(count):
        tokens = parity.prompt(60, rng.randrange(1, 40), i)
        how = {"seed": i, "max_tokens": rng.randrange(1, 20), "temperature": rng.choice([0, 0.9]), "repeat_penalty": rng.choice([1, 1.2])}
        found.append(((common + tokens)[:44] if i % 3 == 0 else tokens, how | {"ignore_eos": True}))
    return found


def together(engine: Engine, requests: list[Asked], rng: random.Random) -> list[Answered]:
    """The answers to requests that come in a random order at random times, with speculation or without; some have to give way."""
    coming, handles = rng.sample(range(len(requests)), len(requests)), {}
    for _ in range(5000):
        while coming and rng.random() < 0.4:
            at = coming.pop()
            prompt, how = requests[at]
            handles[at] = engine.submit(prompt, **how, speculate=rng.choice(["off", "ngram"]))
        if engine.scheduler.running and rng.random() < 0.1:
            engine.scheduler._preempt(rng.choice(engine.scheduler.running))
        if not engine.step() and not coming:
            break
    results = [handles[at].result() for at in range(len(requests))]
    return [(one.tokens, one.logprobs, one.text) for one in results]


def load(path: Path, **options: Any) -> Model:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of kernels that are not native
        return heron.load(path, backend="native", ctx_size=64, **options)


def check(path: Path, seed: int, threads: tuple[int, ...] = (1, 2, 3), **options: Any) -> None:
    rng = random.Random(seed)
    requests = asked(8, rng)
    model = load(path, threads=1, **options)
    alone = [model.generate(prompt, **how) for prompt, how in requests]
    expected = [(one.tokens, one.logprobs, one.text) for one in alone]
    model.close()
    preemptions = 0
    for count in threads:
        model = load(path, threads=count, **options)
        if model.executable.batch_dependent:
            with pytest.raises(UnsupportedError, match="deterministic is asked for"):
                Engine(model, deterministic=True)
            model.close()
            continue
        small = {"kv_cache_size": 64, "max_seqs": 6}  # they give way to each other
        for how in (small, {"max_seqs": rng.randrange(1, 9)}, {"prefix_cache": False, "max_seqs": 8}):
            with Engine(model, deterministic=True, step_tokens=rng.randrange(1, 70), **how) as engine:
                assert together(engine, requests, rng) == expected
                assert together(engine, requests, rng) == expected  # the prefix cache is warm
                preemptions += engine.scheduler.preemptions
        model.close()
    assert preemptions


@pytest.mark.parametrize("name", KINDS)
def test_families(name: str, tmp_path: Path) -> None:
    check(write_tiny(make(name, tmp_path).folder), KINDS.index(name), threads=(2,))


@pytest.mark.parametrize("name", FORMATS)
def test_formats(name: str, shared: Path) -> None:
    check(shared / f"data/quants/tiny-{name}.gguf", FORMATS.index(name), threads=(2,))


@pytest.mark.parametrize("options", [{"kv_dtype": "q8_0"}, {"kv_dtype": "f32"}, {"activations": "f32"}, {"repack": False}], ids=str)
def test_options(options: dict[str, Any], shared: Path) -> None:
    check(shared / "data/quants/tiny-Q4_K_M.gguf", 5, threads=(2,), **options)


@pytest.mark.slow
@pytest.mark.parametrize("options", [{}, {"activations": "f32"}, {"repack": False}], ids=str)
def test_all_formats(options: dict[str, Any], shared: Path) -> None:
    files = sorted((shared / "data/quants").glob("*.gguf"))
    assert len(files) > 30
    for seed, file in enumerate(files):
        check(file, seed, **options)


@pytest.mark.slow
def test_all_families(tmp_path: Path) -> None:
    for seed, name in enumerate([*DECODERS, *OTHERS]):
        (tmp_path / name).mkdir()
        check(write_tiny(make(name, tmp_path / name).folder), seed, threads=(3,))


@pytest.mark.parametrize("name", ["bert", "llama3", "qwen3next"])
def test_vectors(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    if name == "bert":
        write_word_pieces(made.folder)
    texts = [parity.prompt(60, length, length) for length in (5, 31, 1, 17, 12)]
    path = made.folder if name == "bert" else write_tiny(made.folder)
    alone = heron.load(path, backend="native", threads=1)
    expected = np.concatenate([alone.embed([text]) for text in texts])
    for step_tokens in (3, 16, 256):
        with Engine(heron.load(path, backend="native", threads=2), deterministic=True, step_tokens=step_tokens) as engine:
            np.testing.assert_array_equal(engine.embed(texts), expected)


def test_numpy_is_refused(tmp_path: Path) -> None:
    model = heron.load(write_tiny(make("llama", tmp_path).folder), backend="reference")
    with pytest.raises(UnsupportedError, match="on the reference backend the last bits of"):
        Engine(model, deterministic=True)
    with Engine(model) as engine:
        assert not engine.deterministic
