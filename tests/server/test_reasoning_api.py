"""Reasoning in chat completions: beside the answer, whole and streamed, with the numbers right."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from stories import Stories, serving_stories

from heron.engine.answer import Answer
from heron.engine.generation import Piece
from heron.engine.sampled import Sampled
from heron.text.chat import ChatTemplate

CHAT = [{"role": "user", "content": "Once"}]
TEMPLATE = """{% for m in messages %}<{{ m.role }}>
{%- if m.reasoning_content %}<think>{{ m.reasoning_content }}</think>{% endif %}{{ m.content }}
{% endfor %}<assistant>{% if enable_thinking %}<think>
{% endif %}"""
SAID = "<think>\nOne, two — three.\n</think>\n\nThere are three; <think> is text."
REASONING, ANSWER = "One, two — three.", "There are three; <think> is text."


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        running.model.template = ChatTemplate(TEMPLATE)
        yield running


@pytest.fixture
def script(stories: Stories, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the model say a text, then end."""
    tokenizer, take = stories.model.tokenizer, Answer.take

    def say(text: str, free: bool = False) -> list[int]:
        """``free``: then what it likes, in place of the end."""
        ids = tokenizer.encode(text, add_special=False)
        if tokenizer.decode(ids) != text:
            ids = ids[1:]
        assert tokenizer.decode(ids) == text and tokenizer.eos is not None

        def told(answer: Answer, sampled: Sampled) -> Piece:
            if free and answer.generated >= len(ids):
                return take(answer, sampled)
            return take(answer, replace(sampled, token=[*ids, tokenizer.eos][answer.generated]))

        monkeypatch.setattr(Answer, "take", told)
        return ids

    return say


def stream(stories: Stories, **body: Any) -> list[dict[str, Any]]:
    asked = {"messages": CHAT, "stream": True, "stream_options": {"include_usage": True}, **body}
    lines = stories.http.post("/v1/chat/completions", json=asked).text.split("\n\n")
    assert lines[-2:] == ["data: [DONE]", ""]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def joined(chunks: list[dict[str, Any]], name: str) -> str:
    return "".join(choice["delta"].get(name) or "" for chunk in chunks for choice in chunk["choices"])


def test_a_message_has_its_reasoning_beside_it(stories: Stories, script: Any) -> None:
    ids = script(SAID)
    found = stories.post("/v1/chat/completions", messages=CHAT)
    message, usage = found["choices"][0]["message"], found["usage"]
    assert (message["content"], message["reasoning_content"], message["reasoning"]) == (ANSWER, REASONING, REASONING)
    assert usage["completion_tokens"] == len(ids) + 1
    marked = len(stories.model.tokenizer.encode("<think>\nOne, two — three.\n</think>", add_special=False))
    reasoning = usage["completion_tokens_details"]["reasoning_tokens"]
    assert marked - len("<think>") <= reasoning <= marked  # the mark that opens may take several tokens to tell
    assert found["choices"][0]["finish_reason"] == "stop"


def test_a_stream_says_the_same(stories: Stories, script: Any) -> None:
    script(SAID)
    whole = stories.post("/v1/chat/completions", messages=CHAT)
    chunks = stream(stories)
    assert joined(chunks, "reasoning_content") == joined(chunks, "reasoning") == REASONING
    assert joined(chunks, "content") == ANSWER
    assert chunks[-1]["usage"] == {**whole["usage"], "prompt_tokens_details": chunks[-1]["usage"]["prompt_tokens_details"]}
    said = [next(iter(choice["delta"]), None) for chunk in chunks for choice in chunk["choices"]]
    assert said.index("reasoning_content") < said.index("content") and said[-1] is None


def test_a_template_that_opens_the_block(stories: Stories, script: Any) -> None:
    script("One.\n</think>\n\nTwo.")
    for found in (
        stories.post("/v1/chat/completions", messages=CHAT, chat_template_kwargs={"enable_thinking": True})["choices"][0]["message"],
        {name: joined(stream(stories, chat_template_kwargs={"enable_thinking": True}), name) for name in ("content", "reasoning_content")},
    ):
        assert (found["content"], found["reasoning_content"]) == ("Two.", "One.")


def test_an_answer_that_is_cut_while_it_thinks(stories: Stories, script: Any) -> None:
    script(SAID)
    found = stories.post("/v1/chat/completions", messages=CHAT, max_tokens=14)["choices"][0]
    assert found["finish_reason"] == "length" and found["message"]["content"] == ""
    assert REASONING.startswith(found["message"]["reasoning_content"]) and found["message"]["reasoning_content"]


def test_none_leaves_it_in_the_content(stories: Stories, script: Any) -> None:
    script(SAID)
    found = stories.post("/v1/chat/completions", messages=CHAT, reasoning_format="none")
    assert found["choices"][0]["message"] == {"role": "assistant", "content": SAID, "refusal": None}
    assert found["usage"]["completion_tokens_details"] == {"reasoning_tokens": 0}
    assert joined(stream(stories, reasoning_format="none"), "content") == SAID
    assert stories.refused("/v1/chat/completions", messages=CHAT, reasoning_format="some")["param"] == "reasoning_format"


def test_every_token_has_its_logprob_once(stories: Stories, script: Any) -> None:
    ids = script(SAID)
    whole = stories.post("/v1/chat/completions", messages=CHAT, logprobs=True)["choices"][0]["logprobs"]["content"]
    chunks = [choice for chunk in stream(stories, logprobs=True) for choice in chunk["choices"]]
    streamed = [token for choice in chunks if choice["logprobs"] for token in choice["logprobs"]["content"]]
    assert [token["bytes"] for token in streamed] == [token["bytes"] for token in whole] and len(whole) == len(ids)
    assert bytes(byte for token in whole for byte in token["bytes"]).decode().strip() == SAID


def test_stop_strings_end_reasoning_and_answers(stories: Stories, script: Any) -> None:
    script(SAID)
    for stop, reasoning, answer in (("two", "One,", ""), ("three;", REASONING, "There are ")):
        found = stories.post("/v1/chat/completions", messages=CHAT, stop=[stop])["choices"][0]
        message = found["message"]
        assert (message["reasoning_content"], message["content"], found["finish_reason"]) == (reasoning, answer, "stop")
        chunks = stream(stories, stop=[stop])
        assert (joined(chunks, "reasoning_content"), joined(chunks, "content")) == (reasoning, answer)


def test_several_answers_are_split_each(stories: Stories, script: Any) -> None:
    script(SAID)
    found = stories.post("/v1/chat/completions", messages=CHAT, n=3)
    assert [choice["message"]["reasoning"] for choice in found["choices"]] == [REASONING] * 3
    once = stories.post("/v1/chat/completions", messages=CHAT)["usage"]["completion_tokens_details"]["reasoning_tokens"]
    assert found["usage"]["completion_tokens_details"]["reasoning_tokens"] == 3 * once


def test_a_constraint_holds_the_answer_and_not_the_reasoning(stories: Stories, script: Any) -> None:
    """A template has opened the block: the model thinks first, and cannot end there."""
    thinks: dict[str, Any] = {"messages": CHAT, "chat_template_kwargs": {"enable_thinking": True}, "regex": "[0-9]{3}"}
    script("Hm, a number.\n</think>", free=True)
    for speculate in ("off", "ngram"):
        choice = stories.post("/v1/chat/completions", **thinks, speculate=speculate)["choices"][0]
        assert choice["message"]["reasoning_content"] == "Hm, a number." and choice["finish_reason"] == "stop"
        assert len(choice["message"]["content"]) == 3 and choice["message"]["content"].isdecimal()
    assert len(joined(stream(stories, **thinks), "content")) == 3
    cut = stories.post("/v1/chat/completions", **thinks, max_tokens=4)["choices"][0]
    assert cut["message"]["content"] == "" and cut["finish_reason"] == "length"
    refused = stories.http.post("/v1/chat/completions", json={**thinks, "stop": ["number"]})
    assert refused.status_code == 400 and "before the regular expression was complete" in refused.json()["error"]["message"]


def test_reasoning_cannot_end_the_answer_that_is_held_to_something(stories: Stories) -> None:
    asked = {"messages": CHAT, "chat_template_kwargs": {"enable_thinking": True}, "max_tokens": 5, "temperature": 0}
    asked["logit_bias"] = {str(stories.model.tokenizer.eos): 100}
    assert stories.post("/v1/chat/completions", **asked)["choices"][0]["finish_reason"] == "stop"
    assert stories.post("/v1/chat/completions", **asked, regex="[0-9]{3}")["choices"][0]["finish_reason"] == "length"


@pytest.mark.parametrize("how", [{}, {"reasoning_format": "none", "chat_template_kwargs": {"enable_thinking": True}}])
def test_elsewhere_a_constraint_holds_all_that_is_said(stories: Stories, how: dict[str, Any]) -> None:
    message = stories.post("/v1/chat/completions", messages=CHAT, regex="[0-9]{3}", **how)["choices"][0]["message"]
    assert len(message["content"]) == 3 and "reasoning" not in message


@pytest.mark.parametrize("name", ["reasoning_content", "reasoning", "thinking"])
def test_reasoning_that_comes_back_is_the_templates(stories: Stories, name: str) -> None:
    messages = [*CHAT, {"role": "assistant", "content": "Two.", name: "One."}, *CHAT]
    prompt = stories.post("/apply-template", messages=messages)["prompt"]
    assert "<assistant><think>One.</think>Two.\n<user>Once" in prompt
