"""Every request has an id and a line in the log, and is counted."""

from __future__ import annotations

import logging
import re
import secrets
import time

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heron.server.logs import event, request_id
from heron.server.metrics import Metrics

_log = logging.getLogger("heron.server")

#: Paths that are asked all the time, by machines.
_QUIET = frozenset({"/health", "/metrics"})

#: An id that a client gives is used as it is, if it can stand in a header and in a log.
_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class Access:
    """ASGI middleware, the outermost. The id is the client's ``x-request-id`` or a new one, and in the response's header."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 499  # what a client that went away before its answer began got
        name = _given(scope) or f"req-{secrets.token_hex(8)}"
        request_id.set(name)

        async def tell(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["x-request-id"] = name
            await send(message)

        try:
            await self.app(scope, receive, tell)
        finally:
            seconds = time.perf_counter() - begin
            path = getattr(scope.get("route"), "path", "other")
            self._metrics.request(path, scope["method"], status, seconds)
            level = logging.DEBUG if scope["path"] in _QUIET else logging.INFO
            raw = scope.get("raw_path", b"").decode("latin-1")  # without the query, which may hold anything
            client = (scope.get("client") or ("",))[0]
            event(_log, level, f"{scope['method']} {raw[:200]}", status=status, seconds=round(seconds, 4), client=client)


def _given(scope: Scope) -> str | None:
    value = dict(scope["headers"]).get(b"x-request-id", b"")
    return value.decode() if _ID.fullmatch(value) else None
