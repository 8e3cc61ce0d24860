"""GET /v1/models: the model, by each of its names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request

from heron.server.errors import ApiError
from heron.server.state import ServerState, state_of

router = APIRouter(prefix="/v1", tags=["models"])


@router.get("/models", summary="The models that can be asked")
async def models(request: Request) -> dict[str, Any]:
    """The model that is loaded, by each of its names. The context's length is told by every name that clients look for."""
    state = state_of(request)
    return {"object": "list", "data": [describe(state, name) for name in state.names]}


@router.get("/models/{name:path}", summary="One model")
async def model(request: Request, name: str) -> dict[str, Any]:
    """The same of one. 404 for a name that is not in the list."""
    state = state_of(request)
    return describe(state, known(state, name))


def known(state: ServerState, name: str) -> str:
    """``name``. Raises ApiError 404 where no model is called so."""
    if name not in state.names:
        there_are = ", ".join(map(repr, state.names))
        raise ApiError(404, f"there is no model {name!r:.100}; this server has {there_are}", param="model", code="model_not_found")
    return name


def describe(state: ServerState, name: str) -> dict[str, Any]:
    """A model as OpenAI's clients, vLLM's, llama.cpp's and OpenRouter's read it."""
    engine = state.ready_engine()
    loaded, context = engine.model.graph_model, engine.context_length
    return {
        "id": name,
        "object": "model",
        "created": state.created,
        "owned_by": "heron",
        "max_model_len": context,
        "context_length": context,
        "meta": {
            "n_ctx": context,
            "n_ctx_train": loaded.context_length,
            "n_vocab": loaded.vocab_size,
            "n_embd": loaded.hidden_size,
        },
    }
