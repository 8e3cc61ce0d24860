"""Answers in a language, through OpenAI's own client and llama.cpp's fields; and languages that must be refused."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import openai
import pytest
from pydantic import BaseModel
from stories import CHAT, TEXT, Stories, neighbour, serving_stories

CHATS, TEXTS, NATIVE = "/v1/chat/completions", "/v1/completions", "/completion"


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


class Pet(BaseModel):
    kind: Literal["cat", "dog"]
    legs: Literal[3, 4]
    friends: list[Literal["Tom", "Lily"]]


POINT = {
    "type": "object",
    "properties": {"x": {"type": "integer", "minimum": 0, "maximum": 9}, "on": {"type": "boolean"}},
    "required": ["x", "on"],
    "additionalProperties": False,
}


def is_point(text: str) -> bool:
    found = json.loads(text)
    return found.keys() == {"x", "on"} and found["x"] in range(10) and isinstance(found["on"], bool)


@pytest.mark.parametrize("seed", range(4))
def test_a_pydantic_model_is_parsed(stories: Stories, seed: int) -> None:
    found = stories.client.chat.completions.parse(
        model="m", messages=CHAT, response_format=Pet, temperature=1.2, seed=seed, frequency_penalty=0.6
    )
    pet = found.choices[0].message.parsed
    assert isinstance(pet, Pet)
    assert found.choices[0].finish_reason == "stop"


def test_a_stream_is_parsed(stories: Stories) -> None:
    how: dict[str, Any] = {"model": "m", "messages": CHAT, "response_format": Pet, "temperature": 1.2, "seed": 5, "frequency_penalty": 0.6}
    with stories.client.chat.completions.stream(**how) as stream:
        streamed = stream.get_final_completion().choices[0].message
    assert isinstance(streamed.parsed, Pet)
    assert stories.client.chat.completions.parse(**how).choices[0].message.parsed == streamed.parsed


@pytest.mark.parametrize(
    "response_format",
    [
        {"type": "json_schema", "json_schema": {"name": "point", "strict": True, "schema": POINT}},
        {"type": "json_schema", "schema": POINT},
        {"type": "json_object", "schema": POINT},
    ],
)
def test_a_schema_in_every_spelling(stories: Stories, response_format: dict[str, Any]) -> None:
    answer = stories.post(CHATS, messages=CHAT, response_format=response_format, seed=1, n=3)
    assert all(is_point(choice["message"]["content"]) for choice in answer["choices"])


@pytest.mark.parametrize(("path", "asked"), [(TEXTS, {"prompt": TEXT, "max_tokens": 60}), (NATIVE, {"prompt": TEXT})])
def test_completions_can_be_held_to_a_schema(stories: Stories, path: str, asked: dict[str, Any]) -> None:
    for given in ({"json_schema": POINT}, {"guided_json": POINT}, {"json_schema": json.dumps(POINT)}):
        answer = stories.post(path, **asked, **given, seed=2)
        assert is_point(answer["content"] if path == NATIVE else answer["choices"][0]["text"])


def test_a_json_object(stories: Stories) -> None:
    """Whatever the model says is one, or the answer is cut by its length and says so."""
    close = stories.model.tokenizer.encode("}", add_special=False)[-1]
    how: dict[str, Any] = {"messages": CHAT, "max_tokens": 40, "response_format": {"type": "json_object"}}
    for seed in range(4):
        (choice,) = stories.post(CHATS, **how, temperature=1.5, seed=seed)["choices"]
        if choice["finish_reason"] == "stop":
            assert isinstance(json.loads(choice["message"]["content"]), dict)
        else:
            assert choice["finish_reason"] == "length" and choice["message"]["content"].startswith("{")
    (choice,) = stories.post(CHATS, **how, logit_bias={str(close): 100})["choices"]
    assert choice["finish_reason"] == "stop" and json.loads(choice["message"]["content"]) == {}


@pytest.mark.parametrize(
    ("asked", "pattern"),
    [
        ({"grammar": 'root ::= "cat " ("sat" | "ran") [.!]'}, r"cat (sat|ran)[.!]"),
        ({"guided_grammar": 'start: "cat " ("sat" | "ran") /[.!]/'}, r"cat (sat|ran)[.!]"),
        ({"regex": r"[0-9]{3}-[a-c]{1,5}x"}, r"[0-9]{3}-[a-c]{1,5}x"),
        ({"guided_regex": r"(Tom|Lily) 🦊"}, r"(Tom|Lily) 🦊"),
    ],
)
def test_grammars_and_expressions(stories: Stories, asked: dict[str, Any], pattern: str) -> None:
    (choice,) = stories.post(CHATS, messages=CHAT, temperature=1.0, seed=3, max_tokens=60, **asked)["choices"]
    assert re.fullmatch(pattern, choice["message"]["content"]) and choice["finish_reason"] == "stop"
    assert re.fullmatch(pattern, stories.post(NATIVE, prompt=TEXT, seed=3, n_predict=60, **asked)["content"])


def test_text_and_logprobs_are_held_back_together(stories: Stories) -> None:
    """A character of four bytes comes token by token; no token is told of before its text is."""
    asked: dict[str, Any] = {"model": "m", "messages": CHAT, "logprobs": True, "stream": True, "extra_body": {"regex": "a🦊"}}
    told = [
        (chunk.choices[0].delta.content, [entry.bytes for entry in chunk.choices[0].logprobs.content or []])
        for chunk in stories.client.chat.completions.create(**asked)
        if chunk.choices[0].logprobs
    ]
    assert [text for text, _ in told] == ["a", "🦊"]
    assert told[1][1] == [[byte] for byte in "🦊".encode()]


def test_an_answer_that_is_cut_is_never_called_whole(stories: Stories) -> None:
    (choice,) = stories.post(CHATS, messages=CHAT, json_schema=POINT, max_tokens=2)["choices"]
    assert choice["finish_reason"] == "length"
    with pytest.raises(openai.LengthFinishReasonError):
        stories.client.chat.completions.parse(model="m", messages=CHAT, response_format=Pet, max_tokens=2)
    assert "stop string" in stories.refused(CHATS, messages=CHAT, regex="aaa,bbb", stop=[","])["message"]


#: What is no language, or none that can be read -> the parameter that is named.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"json_schema": {"type": "nonsense"}}, "json_schema"),
    ({"json_schema": "{"}, "json_schema"),
    ({"json_schema": {"$ref": "#/nowhere"}}, "json_schema"),
    ({"json_schema": False}, "json_schema"),
    ({"json_schema": {"type": "integer", "minimum": 5, "maximum": 4}}, "json_schema"),
    ({"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": 5}}}}, "response_format"),
    ({"grammar": "root ::= ("}, "grammar"),
    ({"grammar": "root ::= root"}, "grammar"),
    ({"grammar": "start: nothing"}, "grammar"),
    ({"regex": "("}, "regex"),
    ({"regex": r"(?=a)b"}, "regex"),
    ({"guided_regex": "[z-a]"}, "guided_regex"),
    ({"grammar": "x" * (1 << 21)}, "grammar"),
    ({"json_schema": {"enum": ["x" * (10 << 20)]}}, "json_schema"),
]


@pytest.mark.parametrize("path", [CHATS, NATIVE])
def test_what_is_no_language_is_refused(stories: Stories, path: str) -> None:
    with neighbour(stories):
        for body, param in REFUSED:
            asked = {"messages": CHAT} if path == CHATS else {"prompt": TEXT}
            error = stories.refused(path, **asked, **body, stream=True)
            assert error["param"] == param, (str(body)[:80], error)


def test_languages_that_take_long_keep_no_neighbour_waiting(stories: Stories) -> None:
    """Recursion and exponential expressions either work within limits or are refused; others are answered meanwhile."""
    node: dict[str, Any] = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}
    deep = {"$defs": {"node": node}, "$ref": "#/$defs/node"}
    with neighbour(stories):
        for body in ({"json_schema": deep}, {"regex": "(a?){60}a{60}"}, {"regex": "((((a+)+)+)+)+b"}, {"regex": "(a|aa)+$"}):
            response = stories.http.post(CHATS, json={"messages": CHAT, "max_tokens": 20, **body})
            assert response.status_code in (200, 400), response.text
