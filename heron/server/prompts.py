"""Prompts as clients send them, as the token ids that the engine continues."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeVar

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError
from starlette.concurrency import run_in_threadpool

from heron.engine.engine import Engine
from heron.errors import RequestError
from heron.server.errors import ApiError
from heron.text.tokenizer import Tokenizer

T = TypeVar("T")

#: A text, or token ids with or without texts between them.
Prompt = str | list[int | str]


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _several(value: Any) -> list[Prompt]:
    """One prompt or many: a text; a list of ids, or of ids and texts; or a list of all these."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not value:
        raise PydanticCustomError("prompt", "give a text, a list of token ids, or a list of these, not an empty one")
    if any(map(_is_id, value)):
        return [_checked(value, "")]
    return [item if isinstance(item, str) else _checked(item, f"prompt {at}: ") for at, item in enumerate(value)]


def _checked(value: Any, where: str) -> list[int | str]:
    if not isinstance(value, list) or not value or not all(_is_id(item) or isinstance(item, str) for item in value):
        raise PydanticCustomError("prompt", "{where}give a text, or a list of token ids that is not empty", {"where": where})
    return value


_ONE: list[dict[str, Any]] = [{"type": "string"}, {"type": "array", "items": {"type": "integer"}}]

#: Prompts, or texts to embed.
Prompts = Annotated[
    list[Any],
    BeforeValidator(_several),
    WithJsonSchema({"anyOf": [*_ONE, {"type": "array", "items": {"anyOf": _ONE}}], "examples": ["Once upon a time"]}),
]


async def off_loop(param: str, work: Callable[[], T]) -> T:
    """What ``work`` returns, computed in a thread, since long texts take long. A RequestError is the fault of parameter ``param``."""
    try:
        return await run_in_threadpool(work)
    except RequestError as error:
        raise ApiError(400, str(error), param=error.param or param) from None


def encode(tokenizer: Tokenizer, prompt: Prompt, parse_special: bool) -> list[int]:
    """Token ids of a prompt. What the model wants in front of a text is there once. Ids are taken as they are.

    Raises RequestError for what is no Unicode, and for an id outside the vocabulary.
    """
    if isinstance(prompt, str):
        return _once(tokenizer.prefix, tokenizer.encode(prompt, parse_special=parse_special))
    ids: list[int] = []
    for part in prompt:
        if isinstance(part, str):
            ids += tokenizer.encode(part, add_special=False, parse_special=parse_special)
        elif 0 <= part < tokenizer.vocab_size:
            ids.append(part)
        else:
            raise RequestError(f"token id {part!r:.40} is outside the vocabulary of {tokenizer.vocab_size}")
    return _once(tokenizer.prefix, [*tokenizer.prefix, *ids]) if isinstance(prompt[0], str) else ids


def _once(prefix: list[int], ids: list[int]) -> list[int]:
    """Without what a text brought itself of that which was put in front of it."""
    count = len(prefix)
    return ids[count:] if count and ids[count : 2 * count] == prefix else ids


def must_fit(engine: Engine, prompts: Sequence[list[int]], param: str, most: int) -> None:
    """Raises ApiError 400 for a prompt that is empty, or has more tokens than the context, or than ``most`` unless that is 0."""
    context = engine.context_length
    for ids in prompts:
        if not ids:
            raise ApiError(400, "the prompt is empty", param=param)
        if len(ids) >= context:
            message = f"this model's maximum context length is {context} tokens, and the prompt has {len(ids)}; shorten it"
            raise ApiError(400, f"{message}, or serve the model with a larger --ctx-size", param=param, code="context_length_exceeded")
        if 0 < most < len(ids):
            raise ApiError(400, f"the prompt has {len(ids)} tokens, and at most {most} are read here", param=param)
