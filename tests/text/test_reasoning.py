"""Reasoning is split from answers at the marks that published templates write, however the text comes in pieces."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from heron.text.chat import ChatTemplate
from heron.text.reasoning import KNOWN, Marks, Splitter, marks_of

THINK = KNOWN[-1]
HELLO = [{"role": "user", "content": "Hello"}]
NAMED = {"bos_token": "<s>", "eos_token": "</s>"}


def split(marks: Marks | None, pieces: list[str], prompt: str = "") -> tuple[str, str]:
    """(reasoning, answer) of all pieces."""
    splitter = Splitter(marks, prompt)
    parts = [part for piece in pieces for part in splitter.push(piece)] + splitter.finish()
    return "".join(part.text for part in parts if part.reasoning), "".join(part.text for part in parts if not part.reasoning)


# Template, variables, what its model says then, and what of that is reasoning and answer.
PUBLISHED = [
    ("Qwen3.5-4B", {}, "Two and two.\n</think>\n\n**4**", "Two and two.", "**4**"),
    ("Qwen3.5-4B", {"enable_thinking": False}, "**4** <think>", "", "**4** <think>"),
    ("Qwen-QwQ-32B", {"enable_thinking": True}, "Hm\n</think>\n\n4", "Hm", "4"),
    ("deepseek-ai-DeepSeek-V3.1", {"thinking": True}, "Hm</think>4", "Hm", "4"),
    ("deepseek-ai-DeepSeek-V3.1", {}, "4", "", "4"),
    ("llama-cpp-deepseek-r1", {}, "Hm\n</think>\n\n4", "Hm", "4"),
    ("deepseek-ai-DeepSeek-R1-Distill-Qwen-32B", {"enable_thinking": True}, "Hm\n</think>\n\n4", "Hm", "4"),
    ("GLM-4.6", {}, "\n<think>Hm</think>\n4", "Hm", "4"),
    ("GLM-4.6", {"enable_thinking": False}, "\n4", "", "4"),
    ("Kimi-K2-Thinking", {}, "<think>Hm</think>4", "Hm", "4"),
    ("NVIDIA-Nemotron-Nano-v2", {}, "Hm\n</think>\n\n4", "Hm", "4"),
    ("LFM2.5-8B-A1B", {}, "<think>\nHm\n</think>\n4", "Hm", "4"),
    ("StepFun3.5-Flash", {}, "Hm\n</think>\n4", "Hm", "4"),
    ("inclusionai-ling-3.0-flash", {}, "\nHm\n</think>\n\n4", "Hm", "4"),
    ("poolside-Laguna-S-2.1", {}, "Hm</think>4", "Hm", "4"),
    ("Spark2.5", {}, "Hm</think>4", "Hm", "4"),
    ("tencent-Hy3", {"reasoning_effort": "high"}, "Hm</think:opensource>4", "Hm", "4"),
    ("tencent-Hy3", {}, "4", "", "4"),
    ("MiniMax-M3", {"thinking_mode": "enabled"}, "Hm</mm:think>4", "Hm", "4"),
    ("MiniMax-M3", {}, "</mm:think>4", "", "4"),
    ("ByteDance-Seed-OSS", {}, "<seed:think>\nHm\n</seed:think>4", "Hm", "4"),
    ("mistralai-Ministral-3-14B-Reasoning-2512", {}, "[THINK]Hm[/THINK]4", "Hm", "4"),
    ("ibm-granite-granite-3.3-2B-Instruct", {}, "<think>Hm</think><response>4</response>", "Hm", "4"),
    ("Apertus-8B-Instruct", {}, "<|inner_prefix|>Hm<|inner_suffix|>4", "Hm", "4"),
    ("Apriel-1.6-15b-Thinker-fixed", {}, "Hm\n[BEGIN FINAL RESPONSE]\n4", "Hm", "4"),
    ("unsloth-Apriel-1.5", {}, "Here are my reasoning steps:\nHm\n[BEGIN FINAL RESPONSE]\n4[END FINAL RESPONSE]", "Hm", "4"),
    ("google-gemma-4-31B-it-interleaved", {"enable_thinking": True}, "<|channel>thought\nHm\n<channel|>4", "Hm", "4"),
    ("google-gemma-4-31B-it-interleaved", {}, "4", "", "4"),
    ("CohereForAI-c4ai-command-r7b-12-2024-tool_use", {}, "<|START_RESPONSE|>4<|END_RESPONSE|>", "", "4"),
    ("Cohere2MoE", {}, "Hm<|END_THINKING|><|START_TEXT|>4<|END_TEXT|>", "Hm", "4"),
    ("upstage-Solar-Open-100B", {}, "<|think|>Hm<|end|><|begin|>assistant<|content|>4", "Hm", "4"),
    ("muse-glimmer", {}, " to=self<|message|>Hm<|eom|><|start|>assistant to=user<|message|>4", "Hm", "4"),
    ("openai-gpt-oss-120b", {}, "<|channel|>analysis<|message|>Hm<|end|><|start|>assistant<|channel|>final<|message|>4", "Hm", "4"),
    ("openai-gpt-oss-120b", {}, "<|channel|>final<|message|>4", "", "4"),
]


@pytest.mark.parametrize(("name", "variables", "said", "reasoning", "answer"), PUBLISHED)
def test_published_templates(shared: Path, name: str, variables: dict[str, object], said: str, reasoning: str, answer: str) -> None:
    source = (shared / f"data/templates/{name}.jinja").read_text()
    prompt = ChatTemplate(source, NAMED).render(HELLO, **variables)
    marks = marks_of(source)
    assert split(marks, [said], prompt) == (reasoning, answer)
    assert split(marks, list(said), prompt) == (reasoning, answer)
    for cut in range(len(said)):  # at each place in two, and ended there
        assert split(marks, [said[:cut], said[cut:]], prompt) == (reasoning, answer)
        assert split(marks, list(said[:cut]), prompt) == split(marks, [said[:cut]], prompt)


@pytest.mark.parametrize("name", ["Qwen-Qwen2.5-7B-Instruct", "meta-llama-Llama-3.3-70B-Instruct", "google-gemma-2-2b-it", "Qwen3-Coder"])
def test_models_that_do_not_reason_are_left_alone(shared: Path, name: str) -> None:
    marks = marks_of((shared / f"data/templates/{name}.jinja").read_text())
    assert marks is None
    for said in ("<think>\nno\n</think>\n\nyes ", " [THINK]", "", "<|channel|>analysis<|message|>"):
        assert split(marks, list(said)) == ("", said)


def test_each_mark_is_of_some_published_template(shared: Path) -> None:
    found = {marks_of(path.read_text()) for path in (shared / "data/templates").glob("*.jinja")}
    assert found == {None, *KNOWN}


def test_text_that_mentions_a_mark_stays() -> None:
    assert split(THINK, ["The tag <think> opens, </think> closes."]) == ("", "The tag <think> opens, </think> closes.")
    assert split(THINK, ["<think>a</think>b <think>c</think>"]) == ("a", "b <think>c</think>")
    assert split(THINK, ["<think>a <think> b</think>c"]) == ("a <think> b", "c")


def test_a_block_that_is_not_closed_is_reasoning() -> None:
    assert split(THINK, ["<think>", "a", " b"]) == ("a b", "")
    assert split(THINK, ["a", " b\n"], "<think>\n") == ("a b", "")
    assert split(THINK, ["<thi"]) == ("", "<thi")


def test_nothing_is_held_longer_than_it_must_be() -> None:
    splitter = Splitter(THINK, "<think>\n")
    assert splitter.reasoning
    assert splitter.push("One ") == [("One", True)]
    assert splitter.push("two</") == [(" two", True)]
    assert splitter.push("b>") == [("</b>", True)]
    assert splitter.push("</think>") == [] and not splitter.reasoning
    assert splitter.push("\n") == []
    assert splitter.push("Yes </think> ") == [("Yes </think> ", False)]


TEXTS = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "think", ">", "/", " ", "\n", "a", "é", "<|end|>", "<|channel|>final<|message|>"])
)


@given(TEXTS, st.lists(st.integers(0, 60)), st.sampled_from(KNOWN), st.booleans())
@example(["<think>", " ", "a", " ", "</think>", "a"], [3, 9, 10], THINK, False)
def test_pieces_do_not_matter(parts: list[str], cuts: list[int], marks: Marks, opened: bool) -> None:
    text, prompt = "".join(parts), marks.opens[0] if opened else ""
    places = [0, *sorted({min(cut, len(text)) for cut in cuts}), len(text)]
    pieces = [text[a:b] for a, b in itertools.pairwise(places)]
    reasoning, answer = split(marks, pieces, prompt)
    assert (reasoning, answer) == split(marks, [text], prompt)
    assert not any(mark in reasoning for mark in marks.closes)
    dropped = len(text) - len(reasoning) - len(answer)
    if not any(mark in text for mark in (*marks.opens, *marks.closes, *marks.frame)) and not opened:
        assert dropped == 0 and answer == text
