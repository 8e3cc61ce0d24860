"""How a route gets the model that a request asks for, and has it until its response has ended.

    @router.post("/tokenize")
    async def tokenize(request: Request, body: Tokenize) -> Response:
        lease = await leased(request, body)
        ...lease.model.tokenizer...

    @router.post("/v1/completions")
    async def completions(request: Request, body: CompletionRequest) -> Response:
        return await answered(request, body, partial(_answer, request, body))    # which is given the lease

Leases are given back where the request ends (gate.py), whatever becomes of it.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from heron.errors import RequestTimeout
from heron.server.catalog import Entry
from heron.server.errors import ApiError
from heron.server.lease import Lease
from heron.server.schemas_model import ForModel
from heron.server.state import ServerState, state_of
from heron.server.stream import DONE, EventStream, while_connected
from heron.server.threads import in_thread

_LEASES = "heron.leases"


async def leased(request: Request, body: ForModel, needs: str = "") -> Lease:
    """The model that the body names, for the rest of the request; it is loaded if it is not here.

    Raises ApiError 404 for one that there is not, 400 for one that has not the capability that it ``needs``, and why it cannot be had.
    """
    lease = await _asked(request, body, needs)
    return await while_connected(request.receive, _ready(state_of(request), lease)) if lease.waits else lease


async def answered(
    request: Request,
    body: ForModel,
    answer: Callable[[Lease], Awaitable[Response]],
    *,
    needs: str = "completion",
    stream: bool = False,
    end: bytes = DONE,
) -> Response:
    """What ``answer`` makes of the model that the body names.

    Where a ``stream`` is wanted, and the model does not come soon, the stream begins without it: with comments, so that the client and
    what is between know that somebody is there. ``answer`` must give an EventStream then; what is raised is an event of it.
    """
    state = state_of(request)
    lease = await _asked(request, body, needs)
    if not lease.waits:
        return await answer(lease)
    coming = asyncio.ensure_future(_ready(state, lease))
    try:
        await while_connected(request.receive, asyncio.wait({coming}, timeout=state.settings.ping_interval if stream else None))
        if coming.done():
            return await answer(await coming)
    except BaseException:
        coming.cancel()
        raise

    def close() -> None:
        coming.cancel()

    return EventStream(_late(coming, answer), close=close, ping_interval=state.settings.ping_interval, end=end)


async def _late(coming: asyncio.Task[Lease], answer: Callable[[Lease], Awaitable[Response]]) -> AsyncGenerator[bytes, None]:
    response = await answer(await coming)
    assert isinstance(response, EventStream)
    try:
        async for data in response.frames:
            yield data
    finally:
        await response.frames.aclose()
        response.close()


async def _asked(request: Request, body: ForModel, needs: str) -> Lease:
    state = state_of(request)
    entry = await find(state, body.model)
    if needs:
        await _must_be_able(state, entry, needs)
    lease = state.pool.ask(entry, body.keep_alive)
    request.scope.setdefault(_LEASES, []).append(lease)
    return lease


async def _ready(state: ServerState, lease: Lease) -> Lease:
    most = state.settings.request_timeout
    try:
        return await asyncio.wait_for(lease.ready(), None if math.isinf(most) else most)
    except (TimeoutError, asyncio.TimeoutError):
        raise RequestTimeout(f"the model {lease.name!r} did not come within {most:g} s") from None


def release(scope: Scope) -> None:
    """Give back all that a request has. Called when it has ended."""
    for lease in scope.pop(_LEASES, ()):
        lease.release()


async def find(state: ServerState, name: str | None) -> Entry:
    """The model that is called so; without a name the one that was used last, or else the first.

    Looks again for what is not known, and before it is loaded: it may have been pulled anew, or deleted. Raises ApiError 404 where there
    is none.
    """
    pool = state.pool
    catalog = pool.catalog
    entry = catalog.find(name) if name else pool.latest or next(iter(catalog.entries), None)
    if name and catalog.otherwise is None and entry not in pool.residents:
        await in_thread(catalog.rescan)
        entry = catalog.find(name)
    entry = entry or (catalog.otherwise if name else None)
    if entry is None:
        raise unknown(state, name or "")
    return entry


def unknown(state: ServerState, name: str) -> ApiError:
    """404, with what there is."""
    names = [name for entry in state.pool.catalog.entries for name in entry.names]
    more = f" and {len(names) - 10} more (GET /v1/models)" if len(names) > 10 else ""
    there_are = ", ".join(map(repr, names[:10])) + more if names else "none"
    return ApiError(404, f"there is no model {name!r:.100}; this server has {there_are}", param="model", code="model_not_found")


async def _must_be_able(state: ServerState, entry: Entry, needs: str) -> None:
    """Raises ApiError 400 before a model is loaded that could not do what is asked."""
    resident = state.pool.residents.get(entry)
    if resident is not None:
        able = needs == "embeddings" or not resident.engine.model.is_encoder
    else:
        facts = await in_thread(lambda: state.pool.catalog.facts(entry))
        able = facts is None or needs in facts.capabilities  # where nothing is known loading tells
    if not able:
        message = f"the model {entry.name!r} gives vectors and no text; ask /v1/embeddings, or another model"
        raise ApiError(400, message, param="model", code="unsupported")
