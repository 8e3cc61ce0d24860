"""llama.cpp's endpoints about the server: /props and /slots."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request

from heron import __version__
from heron.engine.model import Model
from heron.engine.statistics import Doing
from heron.errors import TemplateError
from heron.server.errors import ApiError
from heron.server.llamacpp import settings
from heron.server.state import state_of

router = APIRouter(tags=["llama.cpp"])


@router.get("/props", summary="What the server is")
async def props(request: Request) -> dict[str, Any]:
    """The model's name, its context, its template, and how tokens are chosen where a request does not say."""
    state = state_of(request)
    engine = state.ready_engine()
    model, context = engine.model, engine.context_length
    return {
        "default_generation_settings": {"n_ctx": context, "params": settings(state, context, state.settings.sampling)},
        "total_slots": engine.scheduler.max_seqs,
        "model_path": model.checkpoint.path.name,
        "model_alias": state.name,
        "chat_template": _template(model),
        "bos_token": model.tokenizer.token(model.tokenizer.bos) if model.tokenizer.bos is not None else "",
        "eos_token": model.tokenizer.token(model.tokenizer.eos) if model.tokenizer.eos is not None else "",
        "modalities": {"vision": False, "audio": False},
        "build_info": f"heron {__version__}",
        "is_sleeping": False,
    }


def _template(model: Model) -> str:
    try:
        return model.template.source
    except TemplateError:
        return ""


@router.get("/slots", summary="What the server is doing")
async def slots(
    request: Request, fail_on_no_slot: bool = Query(False, description="Answer 503 where every slot is taken.")
) -> list[dict[str, Any]]:
    """A place for each request that can be computed beside others; none of them has a text in it."""
    engine = state_of(request).ready_engine()
    running = engine.snapshot().running
    count = engine.scheduler.max_seqs
    if fail_on_no_slot and len(running) >= count:
        raise ApiError(503, "every slot is taken", code="no_slot")
    free: list[Doing | None] = [None] * (count - len(running))
    return [_slot(at, doing, engine.context_length) for at, doing in enumerate([*running, *free])]


def _slot(at: int, doing: Doing | None, context: int) -> dict[str, Any]:
    if doing is None:
        return {"id": at, "id_task": -1, "n_ctx": context, "speculative": False, "is_processing": False}
    return {
        "id": at,
        "id_task": doing.number,
        "n_ctx": context,
        "speculative": False,
        "is_processing": True,
        "state": doing.state,
        "n_prompt_tokens": doing.prompt_tokens,
        "n_prompt_tokens_cache": doing.cached_tokens,
        "n_prompt_tokens_processed": min(doing.computed_tokens, doing.prompt_tokens),
        "next_token": {"has_next_token": True, "n_decoded": doing.generated_tokens},
        "preemptions": doing.preemptions,
        "seconds": round(doing.seconds, 3),
    }
