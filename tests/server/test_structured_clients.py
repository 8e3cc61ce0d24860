"""Structured output through the openai client and llama.cpp's names: parsed, streamed, several at once, with log-probabilities."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field
from stories import CHAT, TEXT, Stories, serving_stories

pytest.importorskip("llguidance")


class Step(BaseModel):
    kind: Literal["walk", "talk"]
    seconds: Annotated[int, Field(ge=1, le=60)]


class Plan(BaseModel):
    title: Annotated[str, Field(max_length=12)]
    steps: Annotated[list[Step], Field(max_length=2)]
    note: Annotated[str, Field(max_length=5)] | None


HOW: dict[str, Any] = {"model": "any", "messages": CHAT, "temperature": 1.2, "max_tokens": 350}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


def test_the_client_parses_what_it_asks_for(stories: Stories) -> None:
    plans = [stories.client.chat.completions.parse(**HOW, seed=seed, response_format=Plan).choices[0] for seed in range(3)]
    assert all(isinstance(choice.message.parsed, Plan) and choice.finish_reason == "stop" for choice in plans)

    async def ask(seed: int) -> Plan | None:
        return (await stories.aclient.chat.completions.parse(**HOW, seed=seed, response_format=Plan)).choices[0].message.parsed

    async def ask_all() -> list[Plan | None]:
        return await asyncio.gather(*(ask(seed) for seed in range(3)))

    assert asyncio.run(ask_all()) == [choice.message.parsed for choice in plans]
    with stories.client.chat.completions.stream(**HOW, seed=0, response_format=Plan) as stream:
        assert stream.get_final_completion().choices[0].message.parsed == plans[0].message.parsed


def test_several_answers_with_log_probabilities(stories: Stories) -> None:
    said = stories.client.chat.completions.create(
        **HOW, seed=1, n=3, logprobs=True, top_logprobs=2, response_format={"type": "json_object"}, extra_body={"regex": None}
    )
    assert len({choice.message.content for choice in said.choices}) == 3
    for choice in said.choices:
        assert choice.message.content is not None and choice.logprobs is not None and choice.logprobs.content is not None
        assert choice.finish_reason == "length" or isinstance(json.loads(choice.message.content), dict)
        assert "".join(token.token for token in choice.logprobs.content) == choice.message.content
        assert all(len(token.top_logprobs) == 2 for token in choice.logprobs.content)


def test_llama_cpps_names(stories: Stories) -> None:
    item = 'root ::= "- " [a-z]{2,5} "\\n"'
    assert re.fullmatch("- [a-z]{2,5}\n", stories.post("/completion", prompt=TEXT, grammar=item, n_predict=30)["content"])
    found = stories.post("/completion", prompt=TEXT, json_schema={"enum": [1, "two"]}, n_predict=30)["content"]
    assert json.loads(found) in (1, "two")
    form = {"type": "json_object", "schema": {"const": {"a": None}}}
    said = stories.post("/v1/chat/completions", messages=CHAT, response_format=form, max_tokens=60)
    assert json.loads(said["choices"][0]["message"]["content"]) == {"a": None}


def test_an_answer_that_is_cut_has_the_reason_length(stories: Stories) -> None:
    said = stories.post("/v1/completions", prompt=TEXT, regex="[a-z]{100}", max_tokens=4)["choices"][0]
    assert said["finish_reason"] == "length" and re.fullmatch("[a-z]{4,99}", said["text"])
