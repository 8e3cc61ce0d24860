"""Whether and how much a model thinks before it answers, as its template lets one say: each maker has a variable for it."""

from __future__ import annotations

from typing import Any

from heron.errors import RequestError
from heron.text.chat import ChatTemplate

#: Variables of templates, and what they are for thinking and for answering at once.
_SWITCHES: dict[str, tuple[Any, Any]] = {
    "enable_thinking": (True, False),  # Qwen, GLM, Gemma, Apertus, Ling, Laguna, Spark
    "thinking": (True, False),  # DeepSeek, Granite
    "thinking_mode": ("enabled", "disabled"),  # MiniMax
    "thinking_budget": (-1, 0),  # Seed
    "reasoning": (True, False),  # Command A
}

_EFFORT = "reasoning_effort"  # gpt-oss, Solar, Hunyuan, DeepSeek

#: Efforts that are none, where a template knows one of them.
_NONE = ("no_think", "none")


def thinking(template: ChatTemplate, wish: str) -> dict[str, Any]:
    """The variables by which this template is told ``wish``: on, off, or an effort, such as low or high. None are for an empty wish.

    Raises RequestError where the template has no way to be told.
    """
    if not wish:
        return {}
    known = template.variables
    told = {name: values[wish == "off"] for name, values in _SWITCHES.items() if name in known}
    if _EFFORT in known and (effort := _effort(template.source, wish)):
        told[_EFFORT] = effort
    elif wish not in ("on", "off"):
        told = {}
    if not told:
        takes = "on and off" if known & _SWITCHES.keys() else "an effort, such as low or high" if _EFFORT in known else ""
        raise RequestError(
            f"this model's template knows no thinking {wish!r:.40}; " + (f"it takes {takes}" if takes else "it has no switch")
        )
    return told


def _effort(source: str, wish: str) -> str:
    """Empty where the template says itself how much that is."""
    if wish == "off":
        return next((none for none in _NONE if f"'{none}'" in source or f'"{none}"' in source), "")
    if wish == "on":
        return "high" if f"'{_NONE[0]}'" in source else ""
    return wish
