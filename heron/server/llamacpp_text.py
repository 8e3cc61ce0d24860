"""llama.cpp's endpoints of text and tokens, with no model at work: /tokenize, /detokenize, /apply-template."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from heron.server.chat import for_template
from heron.server.leasing import leased
from heron.server.prompts import off_loop
from heron.server.replies import reply, warning
from heron.server.schemas_chat import ChatRequest
from heron.server.schemas_llamacpp import Detokenize, Tokenize

router = APIRouter(tags=["llama.cpp"])


@router.post("/tokenize", summary="A text's tokens", response_model=None)
async def tokenize(request: Request, body: Tokenize) -> Response:
    """Ids, or with `with_pieces` objects of an id and its text (its bytes, where they are no text)."""
    tokenizer = (await leased(request, body)).model.tokenizer
    ids = await off_loop("content", lambda: tokenizer.encode(body.content, body.add_special, body.parse_special))
    found: list[Any] = [{"id": id, "piece": _piece(tokenizer.token_bytes(id))} for id in ids] if body.with_pieces else ids
    return reply({"tokens": found}, warning(body.unknown))


def _piece(data: bytes) -> str | list[int]:
    try:
        return data.decode()
    except UnicodeDecodeError:
        return list(data)


@router.post("/detokenize", summary="The text of tokens", response_model=None)
async def detokenize(request: Request, body: Detokenize) -> Response:
    """Bytes that are no text become U+FFFD."""
    tokenizer = (await leased(request, body)).model.tokenizer
    text = await off_loop("tokens", lambda: tokenizer.decode(body.tokens))
    return reply({"content": text}, warning(body.unknown))


@router.post("/apply-template", summary="A conversation as the model reads it", response_model=None)
async def apply_template(request: Request, body: ChatRequest) -> Response:
    """The prompt that chat completions would give the model, as text. Special tokens in messages are not told apart in it."""
    model = (await leased(request, body)).model

    def render() -> str:
        messages, variables = for_template(model, body)
        return model.template.render(messages, **variables)

    return reply({"prompt": await off_loop("messages", render)}, warning(body.ignored))
