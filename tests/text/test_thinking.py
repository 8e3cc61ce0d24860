"""Published templates are told to have their model think, or not, each by its own variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from heron.errors import RequestError
from heron.text.chat import ChatTemplate
from heron.text.reasoning import Splitter, marks_of
from heron.text.thinking import thinking

NAMED = {"bos_token": "<s>", "eos_token": "</s>"}
HELLO = [{"role": "user", "content": "Hello"}]

# Template, whether thinking begins within the prompt when it is on, and off.
SWITCHED = [
    *(("Qwen3.5-4B", True), ("Qwen-QwQ-32B", True), ("deepseek-ai-DeepSeek-V3.1", True), ("deepseek-ai-DeepSeek-V4", True)),
    *(("MiniMax-M3", True), ("Spark2.5", True), ("inclusionai-ling-3.0-flash", True), ("poolside-Laguna-S-2.1", True)),
    *(("Cohere2MoE", True), ("tencent-Hy3", True), ("GLM-4.6", False), ("ByteDance-Seed-OSS", False)),
    *(("google-gemma-4-31B-it-interleaved", False), ("ibm-granite-granite-3.3-2B-Instruct", False), ("Apertus-8B-Instruct", False)),
]


def template(shared: Path, name: str) -> ChatTemplate:
    return ChatTemplate((shared / f"data/templates/{name}.jinja").read_text(), NAMED)


@pytest.mark.parametrize(("name", "opened"), SWITCHED)
def test_on_and_off(shared: Path, name: str, opened: bool) -> None:
    it = template(shared, name)
    on, off = (it.render(HELLO, **thinking(it, wish)) for wish in ("on", "off"))
    assert on != off
    assert Splitter(marks_of(it.source), on).reasoning is opened
    assert not Splitter(marks_of(it.source), off).reasoning


@pytest.mark.parametrize("name", ["openai-gpt-oss-120b", "upstage-Solar-Open-100B", "tencent-Hy3"])
def test_efforts(shared: Path, name: str) -> None:
    it = template(shared, name)
    assert it.render(HELLO, **thinking(it, "low")) != it.render(HELLO, **thinking(it, "high"))


def test_what_a_template_cannot_be_told(shared: Path) -> None:
    for name, wish, words in (
        ("Qwen3.5-4B", "high", "it takes on and off"),
        ("openai-gpt-oss-120b", "off", "an effort, such as low or high"),
        ("Qwen-Qwen2.5-7B-Instruct", "off", "it has no switch"),
    ):
        it = template(shared, name)
        assert thinking(it, "") == {}
        with pytest.raises(RequestError, match=words):
            thinking(it, wish)
