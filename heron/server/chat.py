"""POST /v1/chat/completions: OpenAI's API of conversations."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from heron.engine.model import Model
from heron.server.answers import Answers, Asked, Choice, Delta
from heron.server.errors import ApiError
from heron.server.lease import Lease
from heron.server.leasing import answered
from heron.server.logprobs import chat_logprobs, prompt_logprobs
from heron.server.parameters import choices, most_logprobs, prompt_scores, sampling_params
from heron.server.prompts import must_fit, off_loop
from heron.server.reasoning import Told, fields, splitter_of
from heron.server.replies import Shape, documented, fingerprint, new_id, respond
from heron.server.schemas_chat import ChatRequest
from heron.server.settings import Limits
from heron.server.state import state_of
from heron.text.chat import encode_chat

router = APIRouter(tags=["OpenAI"])

#: A template that knows the role compares with it.
_KNOWS_DEVELOPERS = re.compile(r"""["']developer["']""")

#: Names that no variable of a template can have.
_TAKEN = frozenset({"self", "messages", "template", "tokenizer"})


_HEAD = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1795000000, "model": "m"}
_MESSAGE = {"role": "assistant", "content": "Once upon a time ..."}
_USAGE = {"prompt_tokens": 9, "completion_tokens": 6, "total_tokens": 15, "prompt_tokens_details": {"cached_tokens": 0}}
_DOCUMENTED = documented(
    {**_HEAD, "choices": [{"index": 0, "message": _MESSAGE, "logprobs": None, "finish_reason": "stop"}], "usage": _USAGE},
    {**_HEAD, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "Once"}, "finish_reason": None}]},
)


@router.post("/v1/chat/completions", summary="Answer in a conversation", response_model=None, responses=_DOCUMENTED)
async def chat_completions(request: Request, body: ChatRequest) -> Response:
    """The model's next message, whole or as a stream of events."""
    return await answered(request, body, partial(_answer, request, body), stream=body.stream)


async def _answer(request: Request, body: ChatRequest, lease: Lease) -> Response:
    engine, settings = lease.engine, state_of(request).settings
    limits = settings.limits
    params = sampling_params(body, settings, engine.model.tokenizer, top_logprobs=_top_logprobs(body, limits))
    if params.max_tokens == 0:
        raise ApiError(400, "max_tokens is 0; an answer has at least 1", param=body.spelled("max_tokens"))
    choices(body.n, limits)
    ids = await off_loop("messages", lambda: conversation(engine.model, body))
    must_fit(engine, [ids], "messages", limits.prompt_tokens)
    scored = prompt_scores(body, limits, engine.model)
    splitter = splitter_of(engine.model, ids, body.reasoning_format, params.constraint is not None)
    asked = [Asked(ids, params, sample, None if sample else scored, chat=True, splitter=splitter) for sample in range(body.n)]
    return await respond(request, body, lease, asked, ChatShape(lease, body))


def _top_logprobs(body: ChatRequest, limits: Limits) -> int:
    if body.top_logprobs is None:
        return 0
    if not body.logprobs:
        raise ApiError(400, "top_logprobs needs logprobs to be true", param="top_logprobs")
    return most_logprobs("top_logprobs", body.top_logprobs, limits)


def for_template(model: Model, body: ChatRequest) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The messages and variables of the model's template. Raises TemplateError where it has none."""
    for at, message in enumerate(body.messages):
        if message.content is None and not (message.role == "assistant" and message.tool_calls):
            raise ApiError(400, f"messages.{at}.content: give a text, or a list of parts", param=f"messages.{at}.content")
    messages = [message.for_template() for message in body.messages]
    if not _KNOWS_DEVELOPERS.search(model.template.source):
        messages = [said | {"role": "system"} if said["role"] == "developer" else said for said in messages]
    shown = body.tools if body.tool_choice != "none" else None
    effort = {} if body.reasoning_effort is None else {"reasoning_effort": body.reasoning_effort}
    own = {"tools": [tool.model_dump(exclude_none=True) for tool in shown] if shown else None}
    variables = body.chat_template_kwargs or {}
    if taken := sorted(_TAKEN & variables.keys()):
        raise ApiError(400, f"chat_template_kwargs cannot set {taken[0]}", param=f"chat_template_kwargs.{taken[0]}")
    return messages, {"add_generation_prompt": body.add_generation_prompt, **effort, **own, **variables}


def conversation(model: Model, body: ChatRequest) -> list[int]:
    """The prompt's token ids. What looks like a special token in a message is text."""
    messages, variables = for_template(model, body)
    return encode_chat(model.tokenizer, model.template, messages, **variables)


class ChatShape(Shape):
    """``chat.completion`` objects and their chunks."""

    def __init__(self, lease: Lease, body: ChatRequest) -> None:
        self._tokenizer, self._logprobs = lease.model.tokenizer, bool(body.logprobs)
        self._usage, self._scored = body.stream_options.include_usage, body.prompt_logprobs
        self._told: dict[int, Told] = {}
        self._head = {
            "id": new_id("chatcmpl"),
            "object": "chat.completion.chunk" if body.stream else "chat.completion",
            "created": int(time.time()),
            "model": lease.name,
            "system_fingerprint": fingerprint(lease),
        }

    def whole(self, answers: Answers) -> Any:
        said = [self._choice(choice) for choice in answers.choices]
        told: dict[str, Any] = {**self._head, "choices": said, "usage": self._counted(answers)}
        if self._scored is not None and (scores := answers.choices[0].request.scores):
            told["prompt_logprobs"] = prompt_logprobs(self._tokenizer, scores, self._scored)
        return told

    def _choice(self, choice: Choice) -> dict[str, Any]:
        return {
            "index": choice.index,
            "message": {"role": "assistant", "refusal": None, **self._of(choice).whole(choice)},
            "logprobs": chat_logprobs(self._tokenizer, choice.pieces) if self._logprobs else None,
            "finish_reason": choice.finish_reason,
        }

    def events(self, answers: Answers, choice: Choice, delta: Delta, first: bool, last: bool) -> Iterable[Any]:
        if first:
            yield self._chunk(choice, {"role": "assistant", "content": ""})
        said = [fields(part) for part in self._of(choice).take(delta, last)]
        if not said and self._logprobs and delta.pieces:  # held back, or marks
            said = [{"content": ""}]
        for at, part in enumerate(said):
            yield self._chunk(choice, part, None if at else delta)
        if last:
            yield self._chunk(choice, {}, reason=choice.finish_reason)

    def _of(self, choice: Choice) -> Told:
        if choice.index not in self._told:
            self._told[choice.index] = Told(choice)
        return self._told[choice.index]

    def _counted(self, answers: Answers) -> dict[str, object]:
        reasoning = sum(told.reasoning_tokens for told in self._told.values())
        return {**answers.usage, "completion_tokens_details": {"reasoning_tokens": reasoning}}

    def _chunk(self, choice: Choice, said: dict[str, Any], delta: Delta | None = None, reason: str | None = None) -> dict[str, Any]:
        logprobs = chat_logprobs(self._tokenizer, delta.pieces) if self._logprobs and delta else None
        written = {"index": choice.index, "delta": said, "logprobs": logprobs, "finish_reason": reason}
        return {**self._head, "choices": [written], **({"usage": None} if self._usage else {})}

    def closing(self, answers: Answers) -> Iterable[Any]:
        if self._usage:
            yield {**self._head, "choices": [], "usage": self._counted(answers)}
