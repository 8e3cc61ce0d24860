"""Completions through OpenAI's own client: the answers of ``Model.generate`` and the log-probabilities of ``Model.logits``."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from openai.types.completion_choice import Logprobs
from stories import TEXT, Stories, serving_stories

GREEDY: dict[str, Any] = {"model": "stories", "temperature": 0}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


def prompt_logprobs(stories: Stories, ids: list[int]) -> list[float]:
    """Of each token but the first, in float64."""
    raw = stories.direct.logits(ids).astype(np.float64)
    found = raw - np.log(np.exp(raw).sum(axis=1, keepdims=True))
    return [float(row[token]) for row, token in zip(found, ids[1:], strict=False)]


def test_a_text_goes_on(stories: Stories) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=30)
    found = stories.client.completions.create(**GREEDY, prompt=TEXT, max_tokens=30)
    (choice,) = found.choices
    assert (choice.index, choice.text, choice.finish_reason, choice.logprobs) == (0, expected.text, "length", None)
    assert found.object == "text_completion"
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens) == (len(stories.model.encode(TEXT)), 30)


def test_sixteen_tokens_where_nothing_is_said(stories: Stories) -> None:
    found = stories.client.completions.create(**GREEDY, prompt=TEXT)
    assert found.choices[0].text == stories.generate(TEXT, temperature=0, max_tokens=16).text


def test_prompts_of_every_kind(stories: Stories) -> None:
    other = "Lily likes"
    ids, more = stories.model.encode(TEXT), stories.model.encode(other)
    said = [stories.generate(text, temperature=0, max_tokens=8).text for text in (TEXT, other)]
    for prompt, expected in (
        (TEXT, said[:1]),
        (ids, said[:1]),
        ([TEXT], said[:1]),
        ([ids], said[:1]),
        ([TEXT, other], said),
        ([ids, more], said),
    ):
        found = stories.client.completions.create(**GREEDY, prompt=prompt, max_tokens=8)  # type: ignore[arg-type]
        assert [choice.text for choice in found.choices] == expected
        assert [choice.index for choice in found.choices] == list(range(len(expected)))


def test_several_answers_to_several_prompts(stories: Stories) -> None:
    how: dict[str, Any] = {"temperature": 1.2, "seed": 5, "max_tokens": 12}
    found = stories.client.completions.create(model="m", prompt=[TEXT, "Tom"], n=2, best_of=2, **how)
    texts = [choice.text for choice in found.choices]
    assert texts[0] != texts[1] and texts[2] != texts[3]
    assert [texts[0], texts[2]] == [stories.generate(prompt, **how).text for prompt in (TEXT, "Tom")]
    assert found.usage is not None
    assert found.usage.prompt_tokens == sum(len(stories.model.encode(prompt)) for prompt in (TEXT, "Tom"))


@pytest.mark.parametrize("max_tokens", [0, 1, 6])
@pytest.mark.parametrize("top", [0, 1, 4])
def test_echo_with_logprobs(stories: Stories, max_tokens: int, top: int) -> None:
    """What lm-eval scores texts by: a log-probability of each token of a prompt given as ids, the likeliest beside it."""
    ids = stories.model.encode(TEXT)
    found = stories.client.completions.create(**GREEDY, prompt=ids, max_tokens=max_tokens, echo=True, logprobs=top).choices[0]
    answer = stories.generate(ids, temperature=0, max_tokens=max_tokens) if max_tokens else None
    assert found.text == TEXT + (answer.text if answer else "")
    logprobs = found.logprobs
    assert isinstance(logprobs, Logprobs)
    assert logprobs.tokens and logprobs.token_logprobs and logprobs.top_logprobs and logprobs.text_offset
    assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.top_logprobs) == len(ids) + max_tokens
    assert logprobs.token_logprobs[0] is None and logprobs.top_logprobs[0] is None
    assert logprobs.token_logprobs[1 : len(ids)] == pytest.approx(prompt_logprobs(stories, ids), abs=1e-5)
    expected = answer.logprobs if answer else []
    assert logprobs.token_logprobs[len(ids) :] == pytest.approx(expected, abs=1e-5)
    for token, logprob, likeliest in list(zip(logprobs.tokens, logprobs.token_logprobs, logprobs.top_logprobs, strict=True))[1:]:
        assert likeliest is not None and likeliest[token] == logprob
        assert top <= len(likeliest) <= top + 1
        assert list(likeliest.values()) == sorted(likeliest.values(), reverse=True)
    if top:  # an answer's tokens are the likeliest ones, to the last bit: lm-eval compares for equality
        assert all(
            logprob == max(best.values())
            for logprob, best in list(zip(logprobs.token_logprobs, logprobs.top_logprobs, strict=True))[len(ids) :]
        )
    for at, token in zip(logprobs.text_offset, logprobs.tokens, strict=True):
        assert found.text[at:].startswith(token.lstrip() if at == 0 else token) or token == "<s>"


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions", "/completion"])
def test_a_prompts_logprobs_as_vllm_has_them(stories: Stories, path: str) -> None:
    asked = {"messages": [{"role": "user", "content": TEXT}]} if "chat" in path else {"prompt": TEXT}
    ids = stories.model.encode(asked["messages"] if "chat" in path else TEXT)  # type: ignore[arg-type]
    answer = stories.post(path, **asked, max_tokens=2, prompt_logprobs=2)
    found = answer["choices"][0]["prompt_logprobs"] if path == "/v1/completions" else answer["prompt_logprobs"]
    expected = prompt_logprobs(stories, ids)
    assert found[0] is None and len(found) == len(ids)
    for id, logprob, entry in zip(ids[1:], expected, found[1:], strict=True):
        own = entry[str(id)]
        assert own["logprob"] == pytest.approx(logprob, abs=1e-5)
        assert own["decoded_token"].encode() == stories.model.tokenizer.token_bytes(id)
        ranks = sorted(one["rank"] for one in entry.values())
        assert ranks == ([1, 2] if own["rank"] <= 2 else [1, 2, own["rank"]])
        assert [one["logprob"] for one in sorted(entry.values(), key=lambda one: one["rank"])] == sorted(
            (one["logprob"] for one in entry.values()), reverse=True
        )
    assert stories.refused(path, **asked, prompt_logprobs=2, stream=True)["param"] == "prompt_logprobs"
    assert stories.refused(path, **asked, prompt_logprobs=10**6)["param"] == "prompt_logprobs"


def test_both_kinds_of_a_prompts_logprobs(stories: Stories) -> None:
    (choice,) = stories.post("/v1/completions", prompt=TEXT, max_tokens=1, echo=True, logprobs=0, prompt_logprobs=3)["choices"]
    assert all(len(entry) >= 3 for entry in choice["prompt_logprobs"][1:])
    assert all(len(entry) == 1 for entry in choice["logprobs"]["top_logprobs"][1:])


def test_an_end_is_among_the_logprobs(stories: Stories) -> None:
    """Or else lm-eval, which leaves the last token out, would lose one of the prompt's."""
    eos, ids = stories.model.tokenizer.eos, stories.model.encode(TEXT)
    found = stories.client.completions.create(
        **GREEDY, prompt=ids, max_tokens=1, echo=True, logprobs=1, logit_bias={str(eos): 100}
    ).choices[0]
    assert (found.text, found.finish_reason) == (TEXT, "stop")
    assert found.logprobs is not None and found.logprobs.tokens is not None and found.logprobs.token_logprobs is not None
    assert len(found.logprobs.tokens) == len(ids) + 1
    assert found.logprobs.token_logprobs[1:-1] == pytest.approx(prompt_logprobs(stories, ids), abs=1e-5)


def test_echo_of_several_answers(stories: Stories) -> None:
    found = stories.client.completions.create(model="m", prompt=[TEXT, "Tom"], n=2, echo=True, logprobs=0, max_tokens=3, seed=1)
    assert [choice.text.startswith(text) for choice, text in zip(found.choices, (TEXT, TEXT, "Tom", "Tom"), strict=True)] == [True] * 4
    scores = [choice.logprobs.token_logprobs[:3] for choice in found.choices if choice.logprobs and choice.logprobs.token_logprobs]
    assert scores[0] == scores[1] and scores[2] == scores[3] and scores[0] != scores[2]


def test_a_stream_says_the_same(stories: Stories) -> None:
    asked: dict[str, Any] = {**GREEDY, "prompt": [TEXT, "Tom"], "max_tokens": 12, "echo": True, "logprobs": 2}
    whole = stories.client.completions.create(**asked)
    chunks = list(stories.client.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].choices == [] and chunks[-1].usage == whole.usage
    for expected in whole.choices:
        parts = [choice for chunk in chunks for choice in chunk.choices if choice.index == expected.index]
        assert "".join(part.text for part in parts) == expected.text
        assert [part.finish_reason for part in parts] == [None] * (len(parts) - 1) + ["length"]
        for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset"):
            assert [item for part in parts for item in getattr(part.logprobs, name)] == getattr(expected.logprobs, name)


def test_tokens_are_guessed_ahead_where_a_request_says_so(stories: Stories) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=60).text
    before = stories.served.engine.snapshot().statistics.drafted_tokens
    for speculate in ("off", "ngram"):
        found = stories.post("/v1/completions", prompt=TEXT, temperature=0, max_tokens=60, speculate=speculate, draft_tokens=4)
        assert found["choices"][0]["text"] == expected
        assert found["usage"]["completion_tokens"] == 60
        assert (stories.served.engine.snapshot().statistics.drafted_tokens > before) == (speculate == "ngram")


def test_the_asynchronous_client(stories: Stories) -> None:
    expected = stories.generate(TEXT, temperature=0, max_tokens=10).text

    async def ask() -> list[str]:
        async with stories.aclient as client:
            whole = await client.completions.create(**GREEDY, prompt=TEXT, max_tokens=10)
            stream = await client.completions.create(**GREEDY, prompt=TEXT, max_tokens=10, stream=True)
            return [whole.choices[0].text, "".join([chunk.choices[0].text async for chunk in stream])]

    assert asyncio.run(ask()) == [expected] * 2


def test_special_tokens_in_a_text_are_text_unless_asked_for(stories: Stories) -> None:
    path, body = "/v1/completions", {"prompt": "<s> Once</s>", "max_tokens": 1}
    plain, parsed = stories.post(path, **body), stories.post(path, **body, parse_special=True)
    assert plain["usage"]["prompt_tokens"] == len(stories.model.encode("<s> Once</s>")) > 4
    assert parsed["usage"]["prompt_tokens"] == len(stories.model.tokenizer.encode("<s> Once</s>", add_special=False, parse_special=True))


def test_what_cannot_be_together(stories: Stories) -> None:
    path = "/v1/completions"
    assert stories.refused(path, prompt=TEXT, n=1, best_of=2)["param"] == "best_of"
    assert stories.refused(path, prompt=TEXT, suffix="the end")["code"] == "no_infill"
    assert stories.refused(path, prompt=TEXT, suffix="the end", echo=True)["param"] == "echo"
