"""What clients send to chat completions."""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from heron.server.body import Body, Flag, Whole, example
from heron.server.parameters import Sampling, about

#: Parameters of the API that change nothing here, and need no warning.
NO_MATTER = frozenset(
    {
        *("user", "metadata", "store", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention"),
        *("parallel_tool_calls", "cache_prompt"),
    }
)


def _text(value: Any) -> Any:
    """A text, or parts of type ``text``, each a line or more of its own."""
    if not isinstance(value, list):
        if value is None or isinstance(value, str):
            return value
        raise PydanticCustomError("content", "give a text, or a list of parts")
    texts = []
    for at, part in enumerate(value):
        kind = part.get("type", "text") if isinstance(part, dict) else None
        text = part.get("text", part.get("refusal")) if kind in ("text", "input_text", "output_text", "refusal") else None
        if not isinstance(text, str):
            raise PydanticCustomError(
                "content", "part {at} is {kind}, and this model reads parts of type text alone", {"at": at, "kind": f"{kind!r:.40}"}
            )
        texts.append(text)
    return "\n".join(texts)


Content = Annotated[
    str | None,
    BeforeValidator(_text),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "object", "properties": {"type": {"const": "text"}, "text": {"type": "string"}}}},
                {"type": "null"},
            ]
        }
    ),
]


class Call(Body):
    """A function's name and arguments, which are JSON in a text."""

    name: str
    arguments: str | dict[str, Any] = ""


class ToolCall(Body):
    id: str | None = None
    type: Literal["function"] = "function"
    function: Call


class Message(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Content = None
    name: str | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        """As templates know it: arguments are objects."""
        found = self.model_dump(exclude_none=True, exclude={"tool_calls"}) | {"content": self.content or ""}
        if self.tool_calls:
            found["tool_calls"] = [_call(call) for call in self.tool_calls]
        return found


def _call(call: ToolCall) -> dict[str, Any]:
    found = call.model_dump(exclude_none=True)
    arguments = call.function.arguments
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except (ValueError, RecursionError):
            parsed = None
        if isinstance(parsed, dict):
            found["function"]["arguments"] = parsed
    return found


class Function(Body):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None


class Tool(Body):
    type: Literal["function"] = "function"
    function: Function


class StreamOptions(Body):
    include_usage: Flag = False


class ChatRequest(Sampling):
    """A conversation to go on with."""

    model_config = example({"messages": [{"role": "user", "content": "Tell me a story."}], "max_tokens": 100})

    messages: list[Message] = Field(min_length=1)
    stream_options: StreamOptions = StreamOptions()
    n: Whole = Field(1, description="How many answers.", ge=1)
    logprobs: Flag | None = about("Whether to give the log-probability of each token.")
    top_logprobs: Whole | None = Field(None, description="How many of the likeliest tokens to give beside each.", ge=0)
    tools: list[Tool] | None = about("Functions that the template tells the model of.")
    tool_choice: Literal["none", "auto", "required"] | dict[str, Any] | None = about("none leaves the tools out.")
    chat_template_kwargs: dict[str, Any] | None = about("Variables of the template.")
    reasoning_effort: str | None = about("A variable of the template.")
    reasoning_format: Literal["auto", "deepseek", "none"] = Field(
        "auto", description="auto and deepseek give reasoning as reasoning_content and reasoning; none leaves it in the content."
    )
    add_generation_prompt: Flag = Field(True, description="Whether the model's turn begins after the last message.")

    @property
    def ignored(self) -> list[str]:
        forced = ["tool_choice (no call is enforced)"] if self.tool_choice not in (None, "none", "auto") else []
        places = [(f"messages.{at}.", message.unknown) for at, message in enumerate(self.messages)]
        known = {"reasoning_content", "reasoning", "thinking", "refusal", "annotations", "audio", "function_call"}
        nested = [place + name for place, names in places for name in names if name not in known]
        return [name for name in self.unknown if name not in NO_MATTER] + nested + forced
