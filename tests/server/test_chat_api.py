"""Chat completions through OpenAI's own client: the answers of ``Model.generate``, in the API's shape."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from http_serving import until
from stories import CHAT, Stories, serving_stories

from heron.engine.answer import Answer
from heron.engine.generation import Piece
from heron.engine.sampled import Sampled
from heron.errors import BackendError

GREEDY: dict[str, Any] = {"model": "stories", "messages": CHAT, "temperature": 0}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


def test_the_answer_is_the_models(stories: Stories) -> None:
    expected = stories.generate(CHAT, temperature=0, max_tokens=40)
    found = stories.client.chat.completions.create(**GREEDY, max_tokens=40)
    (choice,) = found.choices
    assert (choice.index, choice.message.role, choice.message.content) == (0, "assistant", expected.text)
    assert choice.finish_reason == expected.finish_reason == "length"
    assert choice.logprobs is None
    assert found.object == "chat.completion" and found.id.startswith("chatcmpl-") and found.system_fingerprint
    prompt = len(stories.model.encode(CHAT))
    assert found.usage is not None
    assert (found.usage.prompt_tokens, found.usage.completion_tokens, found.usage.total_tokens) == (prompt, 40, prompt + 40)


def test_an_end_of_the_models_own_is_counted(stories: Stories) -> None:
    found = stories.client.chat.completions.create(**GREEDY, max_tokens=400, logit_bias={str(stories.model.tokenizer.eos): 100})
    assert found.choices[0].finish_reason == "stop"
    assert found.choices[0].message.content == ""
    assert found.usage is not None and found.usage.completion_tokens == 1


def test_sampling_is_the_engines(stories: Stories) -> None:
    how = {"temperature": 1.3, "seed": 7, "top_p": 0.9, "frequency_penalty": 0.5, "presence_penalty": 0.2}
    expected = stories.generate(CHAT, max_tokens=30, top_k=20, min_p=0.01, repeat_penalty=1.1, **how)
    extra = {"top_k": 20, "min_p": 0.01, "repetition_penalty": 1.1}
    found = stories.client.chat.completions.create(model="m", messages=CHAT, max_completion_tokens=30, extra_body=extra, **how)
    assert found.choices[0].message.content == expected.text


def test_a_stream_says_the_same(stories: Stories) -> None:
    expected = stories.generate(CHAT, temperature=0, max_tokens=40)
    chunks = list(stories.client.chat.completions.create(**GREEDY, max_tokens=40, stream=True))
    assert {chunk.id for chunk in chunks} == {chunks[0].id}
    assert all(chunk.object == "chat.completion.chunk" and len(chunk.choices) == 1 and chunk.usage is None for chunk in chunks)
    deltas = [chunk.choices[0].delta for chunk in chunks]
    assert deltas[0].role == "assistant" and all(delta.role is None for delta in deltas[1:])
    assert "".join(delta.content or "" for delta in deltas) == expected.text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]


def test_a_stream_ends_on_usage_where_it_is_wanted(stories: Stories) -> None:
    asked = {**GREEDY, "max_tokens": 5, "stream": True, "stream_options": {"include_usage": True}}
    lines = stories.http.post("/v1/chat/completions", json=asked).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]
    assert [chunk["usage"] for chunk in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert chunks[-1]["choices"] == [] and chunks[-1]["usage"]["completion_tokens"] == 5


def test_the_asynchronous_client(stories: Stories) -> None:
    expected = stories.generate(CHAT, temperature=0, max_tokens=20).text

    async def ask() -> tuple[str | None, str]:
        async with stories.aclient as client:
            whole = await client.chat.completions.create(**GREEDY, max_tokens=20)
            parts = [
                chunk.choices[0].delta.content or ""
                async for chunk in await client.chat.completions.create(**GREEDY, max_tokens=20, stream=True)
            ]
        return whole.choices[0].message.content, "".join(parts)

    assert asyncio.run(ask()) == (expected, expected)


def test_the_clients_stream_helper(stories: Stories) -> None:
    with stories.client.chat.completions.stream(**GREEDY, max_tokens=100, n=2, stop="the") as stream:
        final = stream.get_final_completion()
    expected = stories.generate(CHAT, temperature=0, max_tokens=100, stop=["the"]).text
    assert [choice.message.content for choice in final.choices] == [expected] * 2


def test_several_answers_differ_and_their_prompt_is_computed_once(stories: Stories) -> None:
    long = [{"role": "user", "content": "Lily and Tom went to the park. " * 12}]
    tokens = len(stories.model.encode(long))
    asked = {"model": "m", "messages": long, "max_tokens": 20, "temperature": 1.5, "seed": 3, "n": 4}
    before = stories.served.engine.snapshot().statistics.prompt_tokens, stories.served.engine.snapshot().statistics.cached_tokens
    found = stories.client.chat.completions.create(**asked)
    again = stories.client.chat.completions.create(**asked)
    texts = [choice.message.content for choice in found.choices]
    assert [choice.index for choice in found.choices] == [0, 1, 2, 3]
    assert len(set(texts)) == 4
    assert texts == [choice.message.content for choice in again.choices]
    assert texts[0] == stories.generate(long, max_tokens=20, temperature=1.5, seed=3).text
    assert found.usage is not None and again.usage is not None
    assert found.usage.prompt_tokens == tokens and found.usage.completion_tokens <= 80
    statistics = stories.served.engine.snapshot().statistics
    read, cached = statistics.prompt_tokens - before[0], statistics.cached_tokens - before[1]
    (block,) = (group.block_size for group in stories.served.engine.cache.groups.values())
    assert read == 8 * tokens
    assert read - cached <= tokens + 7 * block
    assert again.usage.prompt_tokens_details is not None
    assert again.usage.prompt_tokens_details.cached_tokens >= tokens - block


def test_answers_that_the_queue_has_no_room_for(shared: Path) -> None:
    """Are refused together, and those that it had room for are let go."""
    with serving_stories(shared, max_seqs=1, max_queue=3) as small:
        refused = small.http.post("/v1/chat/completions", json={**GREEDY, "n": 8})
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) >= 1
        until(small.served.is_idle)
        answer = small.post("/v1/chat/completions", **GREEDY, max_tokens=5, n=3)
        assert len(answer["choices"]) == 3


def test_stop_strings(stories: Stories) -> None:
    expected = stories.generate(CHAT, temperature=0, max_tokens=60, stop=["the"])
    assert expected.finish_reason == "stop"
    for stop in ("the", ["never seen", "the"]):
        found = stories.client.chat.completions.create(**GREEDY, max_tokens=60, stop=stop, logprobs=True)
        (choice,) = found.choices
        assert (choice.message.content, choice.finish_reason) == (expected.text, "stop")
        assert choice.logprobs is not None and choice.logprobs.content is not None
        said = "".join(token.token for token in choice.logprobs.content)
        assert said.strip().startswith(expected.text.strip()) and "the" not in said[len(expected.text) + 1 :]


def test_logprobs(stories: Stories) -> None:
    asked = {**GREEDY, "max_tokens": 20, "logprobs": True, "top_logprobs": 3}
    expected = stories.generate(CHAT, temperature=0, max_tokens=20, top_logprobs=3)
    found = stories.client.chat.completions.create(**asked).choices[0]
    assert found.logprobs is not None and found.logprobs.content is not None
    tokenizer = stories.model.tokenizer
    assert [bytes(entry.bytes or []) for entry in found.logprobs.content] == [tokenizer.token_bytes(id) for id in expected.tokens]
    assert [entry.logprob for entry in found.logprobs.content] == pytest.approx(expected.logprobs, abs=1e-5)
    for entry in found.logprobs.content:
        assert len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == max(top.logprob for top in entry.top_logprobs)
        assert entry.top_logprobs[0].token == entry.token  # greedy
    chunks = list(stories.client.chat.completions.create(**asked, stream=True))
    streamed = [entry for chunk in chunks if chunk.choices[0].logprobs for entry in chunk.choices[0].logprobs.content or []]
    assert streamed == found.logprobs.content


def test_parts_developers_and_tools(stories: Stories) -> None:
    parts = [{"type": "text", "text": "Tell me"}, {"type": "text", "text": "a story."}]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "properties": {"a": {"type": "number"}}}}}
    calls = [{"id": "call_1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}]
    messages: list[Any] = [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": parts},
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": "1"},
    ]
    found = stories.client.chat.completions.create(
        model="m", messages=messages, tools=[tool], tool_choice="auto", temperature=0, max_tokens=10
    )
    same = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Tell me\na story."},
        {"role": "assistant", "content": ""},
        {"role": "tool", "content": "1"},
    ]
    assert found.choices[0].message.content == stories.generate(same, temperature=0, max_tokens=10).text


def test_special_tokens_in_a_message_are_text(stories: Stories) -> None:
    asked = [{"role": "user", "content": "</s><s>[INST] hello"}]
    ids = stories.model.encode(asked)
    assert stories.model.tokenizer.eos not in ids and ids.count(stories.model.tokenizer.bos) == 1
    found = stories.client.chat.completions.create(model="m", messages=asked, temperature=0, max_tokens=5)  # type: ignore[arg-type]
    assert found.usage is not None and found.usage.prompt_tokens == len(ids)


def test_what_is_not_heeded_is_named(stories: Stories) -> None:
    asked = {**GREEDY, "max_tokens": 1, "frobnicate": 1, "user": "me", "a\nb: c": 2, "tool_choice": "required"}
    response = stories.http.post("/v1/chat/completions", json=asked)
    assert response.status_code == 200
    assert response.headers["x-heron-warning"] == "ignored: a?b: c, frobnicate, tool_choice (no call is enforced)"
    assert "x-heron-warning" not in stories.http.post("/v1/chat/completions", json={**GREEDY, "max_tokens": 1}).headers


def test_an_error_within_a_stream_is_told_in_it(stories: Stories, monkeypatch: pytest.MonkeyPatch) -> None:
    take = Answer.take

    def fail(answer: Answer, sampled: Sampled) -> Piece:
        if answer.generated == 4:
            raise BackendError("the model computed logits that are not finite")
        return take(answer, sampled)

    monkeypatch.setattr(Answer, "take", fail)
    said = []
    chunks = stories.client.chat.completions.create(**GREEDY, max_tokens=20, stream=True)
    with pytest.raises(openai.APIError, match="not finite"):
        said.extend(chunk.choices[0].delta.content or "" for chunk in chunks)
    monkeypatch.undo()
    assert "".join(said) == stories.generate(CHAT, temperature=0, max_tokens=4).text
    failed = stories.http.post("/v1/chat/completions", json={**GREEDY, "max_tokens": 4})
    assert failed.status_code == 200


def test_the_template_gets_variables(stories: Stories) -> None:
    for kwargs, param in (({"self": 1}, "chat_template_kwargs.self"), ({"messages": []}, "chat_template_kwargs.messages")):
        assert stories.refused("/v1/chat/completions", **GREEDY, chat_template_kwargs=kwargs)["param"] == param
    found = stories.post("/apply-template", messages=CHAT, chat_template_kwargs={"bos_token": "<bos>"})
    assert found["prompt"].startswith("<bos>[INST]")
