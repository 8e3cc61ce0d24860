"""Speculation: answers are those without it, token for token, whoever guesses, and however well."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import parity
import pytest
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron import Constraint
from heron.backends import native
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.engine.request import Request
from heron.engine.speculate import Lookup, Pace
from heron.errors import RequestError

BACKEND = "native" if native.available() else "reference"

#: Full attention, windows, recurrent states of all kinds (alone, and beside attention), latents, experts, an encoder's output.
KINDS = ["llama3", "gemma3", "mamba2", "falcon-mamba", "qwen3next", "deepseek2", "mixtral", "t5"]


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return {}


def load(name: str, paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, ctx_size: int = 160) -> Model:
    if name not in paths:
        paths[name] = write_tiny(make(name, tmp_path_factory.mktemp(name)).folder)
    return heron.load(paths[name], backend=BACKEND, threads=1, ctx_size=ctx_size)


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(request.param, paths, tmp_path_factory)


Asked = tuple[list[int], dict[str, Any]]


def asked(count: int, vocab: int = 60) -> list[Asked]:
    """Prompts that say things twice; greedy, sampled, with penalties; ends by length, by a token, by min_tokens."""
    rng = random.Random(4)
    found: list[Asked] = []
    for i in range(count):
        phrase = parity.prompt(vocab, rng.randrange(3, 12), i)
        how: dict[str, Any] = {"seed": i, "max_tokens": rng.randrange(1, 50), "temperature": rng.choice([0, 0, 0.2, 1.0])}
        how |= {"repeat_penalty": rng.choice([1, 1, 1.1]), "ignore_eos": rng.random() < 0.7, "stop_token_ids": rng.choice([(), (5, 9)])}
        found.append(((phrase * 8)[: rng.randrange(5, 70)], how))
    return found


def alone(model: Model, requests: list[Asked]) -> list[tuple[list[int], list[float], str, str]]:
    found = [model.generate(prompt, **how) for prompt, how in requests]
    return [(one.tokens, one.logprobs, one.text, one.finish_reason) for one in found]


def drive(engine: Engine, *requests: Request) -> list[tuple[list[int], list[float], str, str]]:
    for _ in range(4000):
        if not engine.step():
            break
    else:
        raise AssertionError("the engine does not come to an end")
    assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)
    if engine._draft is not None:
        assert all(engine._draft.cache.in_use(name) == 0 for name in engine._draft.cache.groups)
    found = [request.result() for request in requests]
    return [(one.tokens, one.logprobs, one.text, one.finish_reason) for one in found]


class Prophet(Lookup):
    """Knows the answer, and now and then says something else."""

    def __init__(self, whole: list[int], seed: int) -> None:
        super().__init__()
        self._whole, self._rng = whole, random.Random(seed)

    def guess(self, tokens: list[int], most: int) -> list[int]:
        guesses = self._whole[len(tokens) : len(tokens) + most]
        if guesses and self._rng.random() < 0.6:
            at = self._rng.randrange(len(guesses))
            guesses[at] = (guesses[at] + 1) % 60
        return guesses


@pytest.mark.parametrize("how", [{}, {"max_seqs": 3, "step_tokens": 9}, {"kv_cache_size": 160, "max_seqs": 5}], ids=str)
def test_answers_are_the_same_however_many_guesses_are_right(model: Model, how: dict[str, Any]) -> None:
    """All of them, none, or some: recurrent states go back to where the last right one was."""
    requests = asked(12)
    expected = alone(model, requests)
    with Engine(model, speculate="ngram", **how) as engine:
        handles = []
        for i, ((prompt, params), (tokens, *_)) in enumerate(zip(requests, expected, strict=True)):
            handles.append(engine.submit(prompt, **params))
            assert handles[-1].guesses is not None
            handles[-1].guesses.lookup = Prophet([*handles[-1].tokens, *tokens], i)
        assert drive(engine, *handles) == expected
        counts = engine.snapshot().statistics
        assert 0.2 < counts.accepted_tokens / counts.drafted_tokens < 0.9
        assert counts.drafted_tokens > 50


def test_answers_are_the_same_with_guesses_from_the_text(model: Model) -> None:
    requests = asked(8)
    expected = alone(model, requests)
    with Engine(model, speculate="ngram") as engine:
        assert drive(engine, *(engine.submit(prompt, **params) for prompt, params in requests)) == expected
        assert engine.snapshot().statistics.drafted_tokens


@pytest.mark.filterwarnings("error:the draft model failed")
@pytest.mark.parametrize("drafting", ["llama3", "mamba2", "qwen3next", "gemma3"])
def test_answers_are_the_same_with_guesses_of_a_model(
    drafting: str, paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The same model guesses right; one of other weights, wrong. Both see a cache in which not everybody has room."""
    requests = asked(8)
    draft = load(drafting, paths, tmp_path_factory)
    target = load(drafting, paths, tmp_path_factory)
    expected = alone(target, requests)
    with Engine(target, draft_model=draft, max_seqs=4, step_tokens=16) as engine:
        assert drive(engine, *(engine.submit(prompt, **params) for prompt, params in requests)) == expected
        counts = engine.snapshot().statistics
        assert counts.accepted_tokens > 0.75 * counts.drafted_tokens > 20  # penalties are what the draft leaves out
        mixed = [engine.submit(p, **params, speculate=s) for (p, params), s in zip(requests, ["off", "ngram", "draft"] * 3, strict=False)]
        assert drive(engine, *mixed) == expected
    assert alone(target, requests[:2]) == expected[:2]
    assert alone(draft, requests[:2]) == expected[:2]


@pytest.mark.filterwarnings("error:the draft model failed")
def test_a_draft_with_windows_keeps_what_wrong_guesses_slid_past(
    paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Long guesses, all wrong: the draft's windows go back by more than a block."""
    model, draft = (load("gemma3", paths, tmp_path_factory) for _ in range(2))
    other = heron.load(write_tiny(make("gemma3-capped", tmp_path_factory.mktemp("other")).folder), backend=BACKEND, threads=1, ctx_size=160)
    monkeypatch.setattr(Pace, "next", lambda self: 20)
    prompt, how = parity.prompt(60, 30), {"temperature": 0, "max_tokens": 100, "ignore_eos": True}
    expected = alone(model, [(prompt, how)])
    for guessing in (draft, other):
        with Engine(model, draft_model=guessing, draft_tokens=20) as engine:
            assert drive(engine, engine.submit(prompt, **how)) == expected
            assert engine.snapshot().statistics.drafted_tokens > 80


def test_a_model_that_guesses_wrong_changes_nothing(model: Model, tmp_path: Path) -> None:
    if model.graph_model.decoder_start is not None:
        pytest.skip("no model guesses for an encoder-decoder")
    requests = asked(6)
    expected = alone(model, requests)
    made = make("llama", tmp_path)
    draft = heron.load(write_tiny(made.folder), backend=BACKEND, threads=1, ctx_size=100)
    draft.tokenizer = model.tokenizer
    with Engine(model, draft_model=draft, kv_cache_size=240, draft_tokens=3) as engine:
        assert drive(engine, *(engine.submit(prompt, **params) for prompt, params in requests)) == expected
        assert engine.snapshot().statistics.drafted_tokens


def test_stop_strings_and_preemptions(shared: Path) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    draft = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    rng = random.Random(2)
    texts = ["Once upon a time", "Tim and Sue went to the park. Tim and Sue went to the", "The cat sat. The cat sat. The"]
    requests = [
        (model.encode(rng.choice(texts)), {"seed": i, "max_tokens": rng.randrange(5, 80), "stop": rng.choice([(), (".",), ("park",)])})
        for i in range(16)
    ]
    expected = alone(model, requests)
    for kind in ("ngram", "draft"):
        with Engine(model, kv_cache_size=128, max_seqs=6, step_tokens=32, draft_model=draft) as engine:
            assert drive(engine, *(engine.submit(prompt, speculate=kind, **how) for prompt, how in requests)) == expected
            counts = engine.snapshot()
            assert counts.preemptions
            right = counts.statistics.accepted_tokens / counts.statistics.drafted_tokens
            assert right > (0.95 if kind == "draft" else 0)  # what was guessed beyond a stop string is not accepted


@pytest.mark.parametrize("kind", ["ngram", "draft"])
def test_answers_that_are_held_to_something(kind: str, shared: Path) -> None:
    """Constraints, logprobs, biases and least lengths: of guesses, those that the constraint allows are checked."""
    model, draft = (heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1) for _ in range(2))
    held: list[dict[str, Any]] = [
        {"constraint": Constraint.regex("(the cat and the dog and ){4}[a-z ]{5,20}")},
        {"constraint": Constraint.schema({"type": "array", "items": {"enum": ["one", "two"]}, "minItems": 6, "maxItems": 9})},
        {"top_logprobs": 3, "min_tokens": 30, "logit_bias": ((31, 2.0),)},
        {"bad_words": ("the", "was"), "repeat_penalty": 1.2, "dry_multiplier": 0.8, "min_tokens": 10},
        {"mirostat": 2},
    ]
    requests = [{"seed": i, "temperature": i % 3 * 0.5, "max_tokens": 60} | how for i, how in enumerate(held * 3)]
    expected = [model.generate("Once upon a time, the cat and the dog and the", **how) for how in requests]
    with Engine(model, draft_model=draft, speculate=kind, max_seqs=4) as engine:
        handles = [engine.submit("Once upon a time, the cat and the dog and the", **how) for how in requests]
        drive(engine)
        for handle, wanted in zip(handles, expected, strict=True):
            got = handle.result()
            assert (got.tokens, got.logprobs, got.top_logprobs) == (wanted.tokens, wanted.logprobs, wanted.top_logprobs)
            assert (got.text, got.finish_reason) == (wanted.text, wanted.finish_reason)
        counts = engine.snapshot().statistics
        assert 0 < counts.accepted_tokens < counts.drafted_tokens


def test_what_a_constraint_leaves_no_choice_of_is_guessed(shared: Path) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    names = {name: {"enum": [1, 2]} for name in ("the_first_number", "a_number_after_that")}
    schema = {"type": "object", "properties": names, "required": list(names), "additionalProperties": False}
    how: dict[str, Any] = {"constraint": Constraint.schema(schema), "temperature": 0, "max_tokens": 100}
    expected = model.generate("Once", **how)
    with Engine(model, speculate="ngram", draft_tokens=16) as engine:
        request, steps = engine.submit("Once", **how), 0
        while engine.step():
            steps += 1
        assert request.result().text == expected.text
        assert steps < len(expected.tokens) / 2
        assert request.timings.accepted_tokens > 0.9 * request.timings.drafted_tokens


def test_cancelled_amid_guesses_nothing_is_held(model: Model) -> None:
    rng = random.Random(8)
    requests = asked(10)
    with Engine(model, speculate="ngram", max_seqs=4) as engine:
        handles = [engine.submit(prompt, **how) for prompt, how in requests]
        for _ in range(30):
            engine.step()
            engine.cancel(rng.choice(handles))
        drive(engine)


def test_fewer_steps(shared: Path) -> None:
    """What is guessed right is not computed one by one."""
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    how: dict[str, Any] = {"temperature": 0, "max_tokens": 60, "ignore_eos": True}
    steps = {}
    for kind in ("off", "ngram", "draft"):
        draft = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1) if kind == "draft" else None
        with Engine(model, draft_model=draft, speculate=kind, draft_tokens=4) as engine:
            request = engine.submit("One day, a cat", **how)
            steps[kind] = 0
            while engine.step():
                steps[kind] += 1
            request.result()
    assert steps["off"] == 60
    assert steps["draft"] <= 14  # a token of the prompt's, then five a step
    assert steps["ngram"] < 60


def test_what_is_refused(paths: dict[str, Path], tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    model = load("llama3", paths, tmp_path_factory)
    other = load("mamba2", paths, tmp_path_factory)
    with Engine(model) as engine:
        with pytest.raises(RequestError, match="no draft model"):
            engine.submit([5], speculate="draft")
        with pytest.raises(RequestError, match="speculate is 'x'; give one of off, ngram, draft"):
            engine.submit([5], speculate="x")
        with pytest.raises(RequestError, match="draft_tokens is 0"):
            engine.submit([5], speculate="ngram", draft_tokens=0)
    assert other.tokenizer.vocab_size != model.tokenizer.vocab_size
    with pytest.raises(RequestError, match="cannot guess for itself"):
        Engine(model, draft_model=model)
    with pytest.raises(RequestError, match="has an encoder"):
        Engine(load("t5", paths, tmp_path_factory), draft_model=other)
    stories = write_tiny(make("llama", tmp_path).folder, tokens=["<unk>", "<s>", "</s>", *(f"x{i}" for i in range(64))])
    with pytest.raises(RequestError, match="another vocabulary"):
        Engine(model, draft_model=heron.load(stories, backend=BACKEND))
    assert model.generate([5], max_tokens=2).tokens
