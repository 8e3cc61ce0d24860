"""Published chat templates render as transformers renders them, refusals included."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from heron.errors import TemplateError
from heron.text.chat import ChatTemplate

SHARED = Path(__file__).resolve().parents[2] / "../shared"
TEMPLATES = sorted(path.stem for path in (SHARED / "data/templates").glob("*.jinja"))
NAMED = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

Conversation = list[dict[str, Any]]
SYSTEM = {"role": "system", "content": "You are terse."}
USER = {"role": "user", "content": "  What is 2 + 2?\n"}
REPLY = {"role": "assistant", "content": "4."}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": 'The weather in a city, "now" & <here>.',
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name", "enum": ["Zürich", "東京"]},
                "days": {"type": "integer", "default": 1},
                "units": {"type": ["string", "null"], "description": "C or F"},
                "where": {"type": "array", "items": {"type": "object", "properties": {"lat": {"type": "number"}}}},
            },
            "required": ["city"],
        },
    },
}
SIMPLE = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "Its name"}}, "required": ["city"]},
        "return": {"type": "string", "description": "words"},
    },
}
CLOCK = {"type": "function", "function": {"name": "clock", "description": "The time", "parameters": {"type": "object", "properties": {}}}}


def call(arguments: Any, id: str = "call00001", name: str = "get_weather") -> dict[str, Any]:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


CALL: dict[str, Any] = {"role": "assistant", "content": "", "tool_calls": [call({"city": "東京", "days": 2})]}
RESULT = {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"temp": 21}'}
PARTS = [{"type": "text", "text": "What is "}, {"type": "text", "text": "this?"}]

CONVERSATIONS: dict[str, Conversation] = {
    "user": [USER],
    "system": [SYSTEM, USER],
    "turns": [SYSTEM, USER, REPLY, {"role": "user", "content": "And 3 + 3?"}],
    "many turns": [USER, REPLY, USER, REPLY, USER, REPLY, {"role": "user", "content": "{{ 7 * 7 }} {% raw %}"}],
    "ends with reply": [USER, REPLY],
    "empty": [],
    "two users": [USER, USER],
    "unknown role": [{"role": "narrator", "content": "Once upon a time"}],
    "developer": [{"role": "developer", "content": "Be kind."}, USER],
    "late system": [USER, REPLY, SYSTEM, USER],
    "null content": [{"role": "user", "content": None}],
    "parts": [{"role": "user", "content": PARTS}],
    "system parts": [{"role": "system", "content": PARTS}, {"role": "user", "content": PARTS}, REPLY, USER],
    "image": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is this?"}]}],
    "reasoning": [USER, {"role": "assistant", "reasoning_content": "Two and two.", "content": "4."}, USER],
    "reasoning, last": [SYSTEM, USER, {"role": "assistant", "reasoning": "Two and two.", "content": "4."}],
    "thinking": [USER, {"role": "assistant", "content": "<think>\nTwo and two.\n</think>\n\n4."}, USER, REPLY],
    "tool call": [USER, CALL],
    "tool result": [SYSTEM, USER, CALL, RESULT],
    "tool loop": [SYSTEM, USER, CALL, RESULT, REPLY, {"role": "user", "content": "Thanks."}],
    "tool call, text": [USER, {**CALL, "tool_calls": [call('{"city": "東京"}')]}, RESULT],
    "tool call, null": [USER, {**CALL, "content": None}, RESULT],
    "tool call, no content": [USER, {"role": "assistant", "tool_calls": CALL["tool_calls"]}, RESULT],
    "two calls": [
        USER,
        {**CALL, "content": "Let me see.", "tool_calls": [call({"city": "Zürich"}), call({}, "call00002", "clock")]},
        RESULT,
        {"role": "tool", "tool_call_id": "call00002", "name": "clock", "content": "12:00"},
        REPLY,
        USER,
    ],
    "reasoned call": [USER, {**CALL, "reasoning_content": "I must look."}, RESULT],
    "result parts": [USER, CALL, {**RESULT, "content": PARTS}],
    "result object": [USER, CALL, {**RESULT, "content": {"temp": 21}}],
}
OPTIONS: list[dict[str, Any]] = [
    {},
    {"tools": [SIMPLE]},
    {"tools": []},
    {"tools": [WEATHER]},
    {"tools": [WEATHER, CLOCK], "enable_thinking": True, "thinking": True},
    {"enable_thinking": False, "thinking": False, "reasoning_effort": "high", "keep_thinking": True},
    {"documents": [{"title": "Sums", "text": "2 + 2 = 4"}], "add_generation_prompt": False},
]


def transformers_text(source: str, messages: Conversation, options: dict[str, Any]) -> str | None:
    """What transformers renders, or None when it raises."""
    render = pytest.importorskip("transformers.utils.chat_template_utils").render_jinja_template
    values = {"add_generation_prompt": True, **NAMED, **options}
    try:
        rendered, _ = render([messages], chat_template=source, **values)
    except Exception:
        return None
    return str(rendered[0])


def differences(name: str, cases: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any], str | None, str | None]]:
    """The cases (a conversation's name, options) in which one renders what the other does not: (..., theirs, ours)."""
    source = (SHARED / f"data/templates/{name}.jinja").read_text()
    template = ChatTemplate(source, NAMED)
    wrong, rendered = [], 0
    for title, options in cases:
        expected = transformers_text(source, CONVERSATIONS[title], options)
        rendered += expected is not None
        try:
            found: str | None = template.render(CONVERSATIONS[title], **options)
        except TemplateError:
            found = None
        if found != expected:
            wrong.append((title, options, expected, found))
    assert rendered >= len(cases) / 5
    return wrong


@pytest.mark.parametrize("name", TEMPLATES)
def test_equal_to_transformers(name: str) -> None:
    """Each conversation with one set of options, all of them in turn."""
    assert not differences(name, [(title, OPTIONS[i % len(OPTIONS)]) for i, title in enumerate(CONVERSATIONS)])


@pytest.mark.slow
@pytest.mark.parametrize("name", TEMPLATES)
def test_equal_to_transformers_in_all(name: str) -> None:
    assert not differences(name, [(title, options) for title in CONVERSATIONS for options in OPTIONS])


def test_templates_were_found(shared: Path) -> None:
    assert len(TEMPLATES) == 47
