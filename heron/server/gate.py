"""Nothing begins before a model is there that must be, nor once the server is to stop; what a request took it gives back here."""

from __future__ import annotations

from starlette.types import ASGIApp, Receive, Scope, Send

from heron.server.errors import ApiError
from heron.server.leasing import release
from heron.server.state import ServerState

#: Paths about the server itself, which answer at any time.
ALWAYS = frozenset({"/health", "/metrics", "/docs", "/openapi.json"})


class Gate:
    """ASGI middleware; what it lets through is counted in ``state.active``."""

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self.app, self._state = app, state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in ALWAYS:
            await self.app(scope, receive, send)
            return
        try:
            self._state.check()
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        self._state.active += 1
        try:
            await self.app(scope, receive, send)
        finally:
            release(scope)
            self._state.active -= 1
