"""GET /v1/models: what can be asked, loaded or not, by each of its names; and loading and unloading by hand."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import Field

from heron.server.body import Body, example
from heron.server.catalog import Entry
from heron.server.facts import Facts
from heron.server.keep_alive import KeepAlive
from heron.server.leasing import find, leased, unknown
from heron.server.schemas_model import ForModel
from heron.server.state import ServerState, state_of
from heron.server.stream import while_connected
from heron.server.threads import in_thread

router = APIRouter(tags=["models"])


class Load(ForModel):
    model_config = example({"model": "pocket", "keep_alive": "10m"})

    model: str = Field(description="A name that GET /v1/models lists.")
    keep_alive: KeepAlive | None = Field(None, description="How long it stays when nobody asks it any more.")


class Unload(Body):
    model_config = example({"model": "pocket"})

    model: str = Field(description="A name that GET /v1/models lists.")


@router.get("/v1/models", summary="The models that can be asked")
async def models(request: Request) -> dict[str, Any]:
    """Every model by each of its names, with what it can do and whether it is loaded. Those that came since are found."""
    state = state_of(request)
    known = await in_thread(lambda: _look(state))
    return {"object": "list", "data": [describe(state, entry, name, facts) for entry, facts in known for name in entry.names]}


def _look(state: ServerState) -> list[tuple[Entry, Facts]]:
    """What there is now, and can be served. For a thread."""
    catalog = state.pool.catalog
    catalog.rescan()
    return [(entry, facts) for entry in catalog.entries if (facts := catalog.facts(entry)) is not None]


@router.get("/v1/models/{name:path}", summary="One model")
async def model(request: Request, name: str) -> dict[str, Any]:
    """The same of one. 404 for a name that none has."""
    state = state_of(request)
    entry = await _found(state, name)
    facts = await in_thread(lambda: state.pool.catalog.facts(entry))
    if facts is None:
        raise unknown(state, name)
    return describe(state, entry, name if name in entry.names else entry.name, facts)


@router.post("/models/load", summary="Load a model")
async def load(request: Request, body: Load) -> dict[str, Any]:
    """Answers when it is there; others make room for it, as for any request."""
    state = state_of(request)
    await _found(state, body.model)
    lease = await leased(request, body)
    return {"id": lease.name, "status": state.pool.status(lease.entry)}


@router.post("/models/unload", summary="Unload a model")
async def unload(request: Request, body: Unload) -> dict[str, Any]:
    """Answers when it is gone, after the requests that use it. 400 for one that was named when the server was started."""
    state = state_of(request)
    entry = await _found(state, body.model)
    await while_connected(request.receive, state.pool.unload(entry))
    return {"id": entry.name, "status": state.pool.status(entry)}


async def _found(state: ServerState, name: str) -> Entry:
    """Raises ApiError 404 where no model is called so, though one server's only model answers to any name."""
    entry = await find(state, name)
    if state.pool.catalog.find(name) is None:
        raise unknown(state, name)
    return entry


def describe(state: ServerState, entry: Entry, name: str, facts: Facts) -> dict[str, Any]:
    """A model as OpenAI's clients, vLLM's, llama.cpp's and OpenRouter's read it."""
    resident = state.pool.residents.get(entry)
    context = resident.engine.context_length if resident is not None else facts.context_length
    return {
        "id": name,
        "object": "model",
        "created": state.created,
        "owned_by": "heron",
        "max_model_len": context,
        "context_length": context,
        "capabilities": list(facts.capabilities),
        "status": state.pool.status(entry),
        "bytes": facts.bytes,
        "meta": {
            "n_ctx": context,
            "n_ctx_train": facts.own_context,
            "n_vocab": facts.vocab_size,
            "n_embd": facts.hidden_size,
        },
    }
