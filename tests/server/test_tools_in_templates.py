"""Tools and their calls, as clients send them, through the templates that models were published with."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from heron.errors import TemplateError
from heron.server.chat import for_template
from heron.server.schemas_chat import ChatRequest
from heron.text.chat import ChatTemplate

CALL = {"id": "abcd12345", "type": "function", "function": {"name": "find_heron", "arguments": '{"river": "Danube"}'}}
PARAMETERS = {"type": "object", "properties": {"river": {"type": "string", "description": "Where."}}, "required": ["river"]}
BODY: dict[str, Any] = {
    "messages": [
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "Where is it?"}]},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "abcd12345", "content": "Vienna"},
        {"role": "assistant", "content": "In Vienna."},
        {"role": "user", "content": "Thanks."},
    ],
    "tools": [{"type": "function", "function": {"name": "find_heron", "description": "Finds it.", "parameters": PARAMETERS}}],
}

#: Templates that refuse such a conversation, and why.
REFUSE = {
    "Kimi-K2-Instruct": "append",
    "Kimi-K2-Thinking": "append",
    "google-gemma-2-2b-it": "System role not supported",
    "llama-cpp-deepseek-r1": "generator",
    "meetkai-functionary-medium-v3.2": "concatenate",
}


def rendered(path: Path, **changes: Any) -> str:
    template = ChatTemplate(path.read_text(), {"bos_token": "<s>", "eos_token": "</s>"})
    model: Any = SimpleNamespace(template=template)
    messages, variables = for_template(model, ChatRequest.model_validate({**BODY, **changes}))
    return template.render(messages, **variables)


def test_published_templates(shared: Path) -> None:
    """Arguments are written as JSON, once, where a template writes calls at all."""
    paths = sorted((shared / "data/templates").glob("*.jinja"))
    told = calls = 0
    for path in paths:
        if path.stem in REFUSE:
            with pytest.raises(TemplateError, match=REFUSE[path.stem]):
                rendered(path)
            continue
        text = rendered(path)
        assert "Thanks." in text and "Be brief." in text and "Where is it?" in text, path.name
        assert "{'river': 'Danube'" not in text and '\\"river\\"' not in text, path.name
        told += "Finds it." in text
        calls += "Danube" in text
    assert min(told, calls) >= len(paths) - len(REFUSE) - 2  # few templates write neither


def test_tool_choice_none_leaves_tools_out(shared: Path) -> None:
    path = shared / "data/templates/Qwen-Qwen2.5-7B-Instruct.jinja"
    assert "Finds it." in rendered(path)
    assert "Finds it." not in rendered(path, tool_choice="none")


def test_variables_reach_the_template(shared: Path) -> None:
    path = shared / "data/templates/Qwen3.5-4B.jinja"
    assert rendered(path, chat_template_kwargs={"enable_thinking": False}) != rendered(path)
    assert rendered(path, add_generation_prompt=False) != rendered(path)
    effort = shared / "data/templates/openai-gpt-oss-120b.jinja"
    assert "Reasoning: high" in rendered(effort, reasoning_effort="high")
