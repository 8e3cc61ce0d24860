"""heron.load and generate, against llama.cpp's tokens and transformers' on trained models."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import heron
from heron.backends import native
from heron.errors import CheckpointError, HeronError, RequestError

BACKENDS = ["reference", pytest.param("native", marks=pytest.mark.skipif(not native.available(), reason="no compiled core")), "torch"]

PROMPTS = ["Once upon a time", "One day, Tim", "Lily and her mom", "The dog was", "There was a big"]


@pytest.fixture(scope="module", params=BACKENDS)
def stories(request: pytest.FixtureRequest, shared: Path) -> heron.Model:
    return heron.load(shared / "data/stories/stories260K-f32.gguf", backend=request.param)


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads((shared / "data/stories/expected.json").read_text())
    return answers


@pytest.mark.parametrize("prompt", PROMPTS)
def test_greedy_tokens_are_llama_cpps(stories: heron.Model, expected: dict[str, Any], prompt: str) -> None:
    answer = stories.generate(prompt, temperature=0, max_tokens=100)
    assert answer.tokens == expected[prompt]["tokens"]
    assert answer.text == expected[prompt]["text"]


def test_log_probabilities_are_llama_cpps(shared: Path, expected: dict[str, Any]) -> None:
    """Within 0.005 with exact keys and values; llama.cpp rounds them, and sums in half precision."""
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", kv_dtype="f32")
    for prompt in PROMPTS:
        answer = model.generate(prompt, temperature=0, max_tokens=100)
        assert np.abs(np.array(answer.logprobs) - expected[prompt]["logprobs"]).max() <= 0.005


def test_the_model_as_found_in_the_wild_loads(shared: Path) -> None:
    """Its padding ids are 4294967295, and its context 128."""
    model = heron.load(shared / "data/stories/stories260Ktok512.gguf")
    assert model.context_length == 128
    text = model.generate("Once upon a time", temperature=0, max_tokens=30).text
    assert text.startswith(", there was a little girl named Lily")


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trained_folder_gives_transformers_tokens(shared: Path, backend: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    folder = shared / "data/tinystories-656K"
    model = heron.load(folder, backend=backend, kv_dtype="f32")
    oracle = AutoModelForCausalLM.from_pretrained(folder).eval()
    for prompt in PROMPTS:
        ids = model.tokenizer.encode(prompt)
        with torch.no_grad():
            ends = sorted(model.tokenizer.eos_ids)
            whole = oracle.generate(
                torch.tensor([ids]), max_new_tokens=200, do_sample=False, eos_token_id=-1, pad_token_id=0, suppress_tokens=ends
            )[0].tolist()
        answer = model.generate(ids, temperature=0, max_tokens=200, ignore_eos=True)
        assert answer.tokens == whole[len(ids) :]
        with torch.no_grad():
            logits = oracle(torch.tensor([whole])).logits[0].double().log_softmax(-1).numpy()
        theirs = [logits[len(ids) - 1 + i, token] for i, token in enumerate(answer.tokens)]
        assert np.abs(np.array(answer.logprobs) - theirs).max() <= 1e-4


def test_a_seed_gives_the_same_text_again_whatever_was_cached(stories: heron.Model) -> None:
    first = stories.generate("Once upon a time", seed=7, max_tokens=40)
    stories.generate("The dog was", seed=1, max_tokens=5)
    again = stories.generate("Once upon a time", seed=7, max_tokens=40)
    assert first.tokens == again.tokens
    assert stories.generate("Once upon a time", seed=8, max_tokens=40).tokens != first.tokens


def test_a_prefix_is_computed_once(stories: heron.Model) -> None:
    ids = stories.tokenizer.encode("Once upon a time, there was a little girl named Lily.")
    fresh = stories.generate(ids, temperature=0, max_tokens=10).tokens
    again = stories.generate(ids, temperature=0, max_tokens=10)
    assert again.timings.cached_tokens == len(ids) - 1
    assert again.tokens == fresh


def test_streamed_pieces_are_the_text(stories: heron.Model, expected: dict[str, Any]) -> None:
    pieces = list(stories.generate("Once upon a time", temperature=0, max_tokens=100, stream=True))
    assert "".join(piece.text for piece in pieces) == expected["Once upon a time"]["text"]
    assert len(pieces) == 100


def test_a_stop_string_ends_the_text_before_it(stories: heron.Model) -> None:
    answer = stories.generate("Once upon a time", temperature=0, max_tokens=100, stop=("Lily",))
    assert answer.text == ", there was a little girl named "
    assert answer.finish_reason == "stop"


def test_logits_of_every_token(stories: heron.Model) -> None:
    ids = stories.tokenizer.encode("Once upon a time")
    logits = stories.logits(ids)
    assert logits.shape == (len(ids), 512)
    assert int(logits[-1].argmax()) == stories.generate(ids, temperature=0, max_tokens=1).tokens[0]


def test_generation_ends_where_the_context_does(shared: Path) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", ctx_size=24)
    answer = model.generate("Once upon a time", temperature=0)
    assert answer.finish_reason == "length"
    assert len(answer.tokens) == 24 - 5


@pytest.mark.parametrize(
    ("prompt", "sampling", "says"),
    [
        ([1] * 600, {}, "the prompt has 600 tokens, the context holds 512"),
        ([5, 512], {}, "token id 512"),
        ([], {}, "empty"),
        ("x", {"temperature": float("nan")}, "temperature"),
        ("x", {"top_k": -5}, "top_k"),
        ("x", {"max_tokens": 2**63}, "max_tokens"),
        ("x", {"warmth": 1}, "warmth"),
        ("x", {"stop": ("",)}, "stop"),
    ],
)
def test_wrong_requests_are_refused_clearly(stories: heron.Model, prompt: Any, sampling: dict[str, Any], says: str) -> None:
    with pytest.raises(RequestError, match=says):
        stories.generate(prompt, **sampling)


def test_wrong_files_are_refused_clearly(shared: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError):
        heron.load(tmp_path / "nothing.gguf")
    with pytest.raises(HeronError, match="backend"):
        heron.load(shared / "data/stories/stories260K-f32.gguf", backend="abacus")
    broken = tmp_path / "broken.gguf"
    shutil.copy(shared / "data/stories/stories260K-f32.gguf", broken)
    with broken.open("r+b") as file:
        file.truncate(100_000)
    with pytest.raises(CheckpointError, match=r"broken\.gguf"):
        heron.load(broken)
