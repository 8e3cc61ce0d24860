"""Bodies that must be refused, each with a 400 that names what is wrong, while a neighbour's answer goes on, token for token."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from stories import CHAT, TEXT, Stories, neighbour, serving_stories

CHATS, TEXTS, NATIVE, VECTORS = "/v1/chat/completions", "/v1/completions", "/completion", "/v1/embeddings"
GENERATING = {CHATS: {"messages": CHAT}, TEXTS: {"prompt": TEXT}, NATIVE: {"prompt": TEXT}}


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


#: What is wrong in any request for text -> the parameter that the error names.
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"n": 10**9}, "n"),
    ({"n": 0}, "n"),
    ({"n": -1}, "n"),
    ({"n": 1.5}, "n"),
    ({"n": "2"}, "n"),
    ({"n": True}, "n"),
    ({"max_tokens": -1}, "max_tokens"),
    ({"max_tokens": 2**63}, "max_tokens"),
    ({"max_tokens": 10**40}, "max_tokens"),
    ({"max_completion_tokens": -7}, "max_completion_tokens"),
    ({"n_predict": -2}, "n_predict"),
    ({"min_tokens": 9, "max_tokens": 3}, "min_tokens"),
    ({"top_k": -5}, "top_k"),
    ({"top_k": 2**64}, "top_k"),
    ({"top_p": 1.5}, "top_p"),
    ({"top_p": "a"}, "top_p"),
    ({"min_p": -0.1}, "min_p"),
    ({"typical_p": 7}, "typical_p"),
    ({"temperature": -1}, "temperature"),
    ({"temperature": 1e300}, "temperature"),
    ({"temperature": "hot"}, "temperature"),
    ({"temperature": [1]}, "temperature"),
    ({"temperature": False}, "temperature"),
    ({"repeat_penalty": 0}, "repeat_penalty"),
    ({"repetition_penalty": -3}, "repetition_penalty"),
    ({"repeat_last_n": -2}, "repeat_last_n"),
    ({"frequency_penalty": 1000}, "frequency_penalty"),
    ({"presence_penalty": {}}, "presence_penalty"),
    ({"mirostat": 3}, "mirostat"),
    ({"mirostat_tau": -1}, "mirostat_tau"),
    ({"dry_sequence_breakers": [""]}, "dry_sequence_breakers"),
    ({"dry_sequence_breakers": [1]}, "dry_sequence_breakers.0"),
    ({"dry_allowed_length": -1}, "dry_allowed_length"),
    ({"xtc_probability": 2}, "xtc_probability"),
    ({"samplers": ["nonsense"]}, "samplers"),
    ({"samplers": 3}, "samplers"),
    ({"seed": 2**65}, "seed"),
    ({"seed": -(2**64)}, "seed"),
    ({"seed": 0.5}, "seed"),
    ({"stop": ["a"] * 10_000}, "stop"),
    ({"stop": [""]}, "stop"),
    ({"stop": [1]}, "stop.0"),
    ({"stop": {}}, "stop"),
    ({"stop_token_ids": [99999]}, "stop_token_ids.0"),
    ({"stop_token_ids": [0, -1]}, "stop_token_ids.1"),
    ({"stop_token_ids": ["a"]}, "stop_token_ids.0"),
    ({"allowed_token_ids": []}, "allowed_token_ids"),
    ({"allowed_token_ids": [512]}, "allowed_token_ids.0"),
    ({"bad_words": [[]]}, "bad_words"),
    ({"bad_words": ["no"] * 2000}, "bad_words"),
    ({"dry_sequence_breakers": ["x"] * 2000}, "dry_sequence_breakers"),
    ({"stop_token_ids": [1] * 600}, "stop_token_ids"),
    ({"logit_bias": [[1, 1]] * 600}, "logit_bias"),
    ({"bad_words": [[1, 512]]}, "bad_words.0.1"),
    ({"logit_bias": {"512": 1}}, "logit_bias.512"),
    ({"logit_bias": {"-1": 1}}, "logit_bias.-1"),
    ({"logit_bias": {"5": "x"}}, "logit_bias"),
    ({"logit_bias": {"5": 1e300}}, "logit_bias"),
    ({"logit_bias": {"9" * 5000: 1}}, f"logit_bias.{'9' * 40}"),
    ({"logit_bias": [[5]]}, "logit_bias"),
    ({"logit_bias": [[5, True]]}, "logit_bias"),
    ({"logit_bias": 7}, "logit_bias"),
    ({"ignore_eos": 1}, "ignore_eos"),
    ({"priority": 2**40}, "priority"),
    ({"stream": "yes"}, "stream"),
    ({"speculate": "wildly"}, "speculate"),
    ({"speculate": "draft"}, "speculate"),
    ({"draft_tokens": 0}, "draft_tokens"),
    ({"speculative.n_max": 10**9}, "speculative.n_max"),
    ({"response_format": {"type": "xml"}}, "response_format.type"),
    ({"response_format": {"type": "json_schema"}}, "response_format.json_schema.schema"),
    ({"response_format": "json"}, "response_format"),
    ({"json_schema": {"a": "x" * (1 << 21)}}, "json_schema"),
    ({"grammar": "x" * (1 << 21)}, "grammar"),
    ({"regex": 5}, "regex"),
    ({"regex": "a", "grammar": "root ::= [a]"}, "regex"),
]


@pytest.mark.parametrize("path", GENERATING)
def test_every_wrong_value_is_named(stories: Stories, path: str) -> None:
    with neighbour(stories):
        for body, param in WRONG:
            error = stories.refused(path, **{**GENERATING[path], **body})
            assert error["param"] == param, (body, error)


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHATS, {"messages": []}, "messages"),
        (CHATS, {"messages": "hello"}, "messages"),
        (CHATS, {"messages": None}, "messages"),
        (CHATS, {}, "messages"),
        (CHATS, {"messages": ["hello"]}, "messages.0"),
        (CHATS, {"messages": [{"role": "wizard", "content": "a"}]}, "messages.0.role"),
        (CHATS, {"messages": [{"content": "a"}]}, "messages.0.role"),
        (CHATS, {"messages": [*CHAT, {"role": "user", "content": None}]}, "messages.1.content"),
        (CHATS, {"messages": [{"role": "user"}]}, "messages.0.content"),
        (CHATS, {"messages": [{"role": "assistant", "content": None}]}, "messages.0.content"),
        (CHATS, {"messages": [{"role": "user", "content": 5}]}, "messages.0.content"),
        (
            CHATS,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "file:///etc/passwd"}}]}]},
            "messages.0.content",
        ),
        (CHATS, {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]}, "messages.0.content"),
        (CHATS, {"messages": [{"role": "user", "content": "a " * 3000}]}, "messages"),
        (CHATS, {"messages": CHAT, "max_tokens": 0}, "max_tokens"),
        (CHATS, {"messages": CHAT, "logprobs": 5}, "logprobs"),
        (CHATS, {"messages": CHAT, "top_logprobs": 5}, "top_logprobs"),
        (CHATS, {"messages": CHAT, "logprobs": True, "top_logprobs": 10**9}, "top_logprobs"),
        (CHATS, {"messages": CHAT, "logprobs": True, "top_logprobs": -1}, "top_logprobs"),
        (CHATS, {"messages": CHAT, "tools": [{"type": "function"}]}, "tools.0.function"),
        (CHATS, {"messages": CHAT, "tools": {}}, "tools"),
        (CHATS, {"messages": CHAT, "tool_choice": "maybe"}, "tool_choice"),
        (CHATS, {"messages": CHAT, "stream_options": {"include_usage": "x"}}, "stream_options.include_usage"),
        (CHATS, {"messages": CHAT, "chat_template_kwargs": []}, "chat_template_kwargs"),
        (TEXTS, {"prompt": []}, "prompt"),
        (TEXTS, {"prompt": [[]]}, "prompt"),
        (TEXTS, {"prompt": None}, "prompt"),
        (TEXTS, {"prompt": 7}, "prompt"),
        (TEXTS, {"prompt": [1.5]}, "prompt"),
        (TEXTS, {"prompt": [1, None]}, "prompt"),
        (TEXTS, {"prompt": [1, 512]}, "prompt"),
        (TEXTS, {"prompt": [-1]}, "prompt"),
        (TEXTS, {"prompt": [2**70]}, "prompt"),
        (TEXTS, {"prompt": [[1], [2, -9]]}, "prompt"),
        (TEXTS, {"prompt": [1] * 512}, "prompt"),
        (TEXTS, {"prompt": "a " * 3000}, "prompt"),
        (TEXTS, {"prompt": [TEXT] * 3000}, "prompt"),
        (TEXTS, {"prompt": TEXT, "logprobs": 10**6}, "logprobs"),
        (TEXTS, {"prompt": TEXT, "logprobs": True}, "logprobs"),
        (TEXTS, {"prompt": TEXT, "echo": "yes"}, "echo"),
        (NATIVE, {"prompt": [1, {"a": 1}]}, "prompt"),
        (NATIVE, {"prompt": TEXT, "n_probs": 10**6}, "n_probs"),
        (NATIVE, {"prompt": TEXT, "response_fields": "a"}, "response_fields"),
        ("/tokenize", {"content": 5}, "content"),
        ("/tokenize", {}, "content"),
        ("/detokenize", {"tokens": "abc"}, "tokens"),
        ("/detokenize", {"tokens": [2**70]}, "tokens"),
        ("/apply-template", {"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        ("/infill", {"input_prefix": 5, "input_suffix": ""}, "input_prefix"),
    ],
)
def test_each_apis_own_are_named(stories: Stories, path: str, body: dict[str, Any], param: str) -> None:
    assert stories.refused(path, **body)["param"] == param


@pytest.mark.parametrize("path", [*GENERATING, VECTORS, "/tokenize", "/detokenize", "/apply-template", "/infill"])
def test_what_is_no_json_is_refused(stories: Stories, path: str) -> None:
    with neighbour(stories):
        for body in (
            *("", "{", "[]", "null", "5", '"text"', "[" * 100_000, '{"a":' * 100_000, "{'a': 1}", "\x00"),
            *('{"temperature": NaN}', '{"temperature": Infinity}', '{"temperature": -Infinity}', '{"temperature": 1e999}'),
            *(
                '{"prompt": "\\ud800"}',
                '{"messages": [{"role": "user", "content": "\\udfff"}]}',
                '{"\\ud800": 1}',
                '{"content": "\\ud83d"}',
            ),
            '{"seed": 1' + "0" * 5000 + "}",
        ):
            response = stories.http.post(path, content=body, headers={"content-type": "application/json"})
            assert response.status_code == 400, (body[:40], response.text)
            assert response.json()["error"]["message"]
        assert stories.http.post(path, content=b"\xff\xfe", headers={"content-type": "application/json"}).status_code == 400


def test_odd_texts_are_answered(stories: Stories) -> None:
    """NUL, private characters, a text that looks like special tokens, keys that no parameter has."""
    odd = "a\x00b \ue000\uf8ff <s></s> <|im_start|> \u202e 🦊" + "\u0301" * 50
    with neighbour(stories):
        for path, body in GENERATING.items():
            said = {"messages": [{"role": "user", "content": odd, "name": odd}]} if path == CHATS else {"prompt": odd}
            response = stories.http.post(path, json={**body, **said, "max_tokens": 3, "stop": [odd], odd: odd, "__class__": {"a": [1]}})
            assert response.status_code == 200, response.text
            assert "__class__" in response.headers["x-heron-warning"]
        tokens = stories.post("/tokenize", content=odd, parse_special=False)["tokens"]
        assert stories.post("/detokenize", tokens=tokens)["content"].lstrip(" ") == odd


def test_a_prompt_longer_than_the_context_is_told_as_openai_does(stories: Stories) -> None:
    for path, body in ((CHATS, {"messages": [{"role": "user", "content": "a " * 3000}]}), (TEXTS, {"prompt": "a " * 3000})):
        error = stories.refused(path, **body)
        assert error["code"] == "context_length_exceeded"
        assert "maximum context length is 512" in error["message"]


def test_numbers_that_are_off_are_off(stories: Stories) -> None:
    """-1 as other servers have it, and null as nothing."""
    body = {"prompt": TEXT, "temperature": 0, "top_k": -1, "n_predict": -1, "seed": -1, "stop": ["."], "logit_bias": None, "n": None}
    expected = stories.generate(TEXT, temperature=0, stop=["."]).text
    assert stories.post(NATIVE, **body)["content"] == expected
    assert stories.post(TEXTS, **body)["choices"][0]["text"] == expected
