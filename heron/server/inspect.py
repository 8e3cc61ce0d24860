"""POST /inspect: a conversation as the model reads it, token by token, and what of it need not be computed."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from heron.engine.engine import Engine
from heron.server.chat import conversation, for_template
from heron.server.leasing import leased
from heron.server.prompts import off_loop
from heron.server.replies import reply, warning
from heron.server.schemas_chat import ChatRequest
from heron.text.tokenizer import Tokenizer

router = APIRouter(tags=["server"])

_EXAMPLE = {
    "prompt": "<|im_start|>user\nHello<|im_end|>\n",
    "tokens": [{"id": 1, "piece": "<|im_start|>", "special": True}, {"id": 300, "piece": "user", "special": False}],
    "cached_tokens": 0,
    "context_length": 1024,
}


@router.post(
    "/inspect",
    summary="A conversation as the model reads it",
    response_model=None,
    responses={200: {"content": {"application/json": {"example": _EXAMPLE}}}},
)
async def inspect(request: Request, body: ChatRequest) -> Response:
    """The prompt that chat completions would give the model: its text, its tokens, and how many of them the prefix cache holds.

    `special` is what the template wrote; what looks like it in a message is text. Bytes that are no character stand as `\\xe2`.
    """
    engine = (await leased(request, body, "completion")).engine
    return reply(await off_loop("messages", lambda: inspected(engine, body)), warning(body.ignored))


def inspected(engine: Engine, body: ChatRequest) -> dict[str, Any]:
    model = engine.model
    messages, variables = for_template(model, body)
    ids = conversation(model, body)
    return {
        "prompt": model.template.render(messages, **variables),
        "tokens": [_shown(model.tokenizer, id) for id in ids],
        "cached_tokens": engine.cached_tokens(ids),
        "context_length": engine.context_length,
    }


def _shown(tokenizer: Tokenizer, id: int) -> dict[str, Any]:
    special = tokenizer.is_special(id)
    piece = tokenizer.token(id) if special else tokenizer.token_bytes(id).decode("utf-8", "backslashreplace")
    return {"id": id, "piece": piece, "special": special}
