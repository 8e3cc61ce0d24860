"""llama.cpp's endpoints about the server: /props and /slots."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Query, Request

from heron import __version__
from heron.engine.model import Model
from heron.engine.statistics import Doing
from heron.errors import TemplateError
from heron.server.errors import ApiError
from heron.server.leasing import find
from heron.server.llamacpp import settings
from heron.server.resident import Resident
from heron.server.state import ServerState, state_of

router = APIRouter(tags=["llama.cpp"])

ASKED = Query(None, description="Which model; the one that was used last, if left out.")


async def _resident(state: ServerState, name: str | None) -> Resident:
    """A model that is loaded; none is, to be looked at. Raises ApiError 404, and 503 where it is not."""
    entry = await find(state, name)
    resident = state.pool.residents.get(entry)
    if resident is None:
        raise ApiError(503, f"the model {entry.name!r} is not loaded; POST /models/load loads it", param="model", code="not_loaded")
    return resident


@router.get("/props", summary="What the server is")
async def props(request: Request, model: str | None = ASKED) -> dict[str, Any]:
    """A loaded model's name, its context, its template, and how tokens are chosen where a request does not say."""
    state = state_of(request)
    resident = await _resident(state, model)
    name, engine = resident.entry.name, resident.engine
    loaded, context = engine.model, engine.context_length
    return {
        "default_generation_settings": {"n_ctx": context, "params": settings(name, context, state.settings.sampling)},
        "total_slots": engine.scheduler.max_seqs,
        "model_path": loaded.checkpoint.path.name,
        "model_alias": name,
        "chat_template": _template(loaded),
        "bos_token": loaded.tokenizer.token(loaded.tokenizer.bos) if loaded.tokenizer.bos is not None else "",
        "eos_token": loaded.tokenizer.token(loaded.tokenizer.eos) if loaded.tokenizer.eos is not None else "",
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
    request: Request,
    model: str | None = ASKED,
    fail_on_no_slot: bool = Query(False, description="Answer 503 where every slot is taken."),
) -> list[dict[str, Any]]:
    """A place for each request that can be computed beside others; none of them has a text in it."""
    engine = (await _resident(state_of(request), model)).engine
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
