"""Bodies are read here, before any route sees them: no larger, no slower and no stranger than allowed."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heron.server import json_body
from heron.server.errors import ApiError
from heron.server.settings import Limits

#: What would still come of a body that is refused is not read.
_CLOSE = {"connection": "close"}


class BodyCheck:
    """ASGI middleware. Routes get the whole body at once, checked to be JSON."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app, self._limits = app, limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        try:
            body = await self._read(scope, receive)
        except ApiError as error:
            await error.response()(scope, receive, send)
            return
        if body is None:  # the client has gone
            return
        first: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return first.pop() if first else await receive()

        await self.app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        headers = dict(scope["headers"])
        if int(headers.get(b"content-length", b"0")) > self._limits.body_bytes:
            raise self._too_large()
        try:
            body = await asyncio.wait_for(self._receive_all(receive), self._limits.body_seconds)
        except (TimeoutError, asyncio.TimeoutError):
            raise ApiError(408, f"the body did not come within {self._limits.body_seconds:g} s", code="slow_body", headers=_CLOSE) from None
        if body:
            _check_type(headers)
            json_body.check(body, self._limits.json_depth)
        return body

    async def _receive_all(self, receive: Receive) -> bytes | None:
        """The body; None where the client disconnects before its end. Raises ApiError 413 as soon as it is too large."""
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body += message.get("body", b"")
            if len(body) > self._limits.body_bytes:
                raise self._too_large()
            if not message.get("more_body"):
                return bytes(body)

    def _too_large(self) -> ApiError:
        return ApiError(413, f"the body is larger than {self._limits.body_bytes} bytes", code="body_too_large", headers=_CLOSE)


def _check_type(headers: dict[bytes, bytes]) -> None:
    """Raises ApiError 415 for what is not plain JSON. A web page can send other types anywhere without being asked first."""
    kind = headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json" and not (kind.startswith(b"application/") and kind.endswith(b"+json")):
        named = f"is {kind.decode('latin-1')!r:.60}" if kind else "is missing"
        raise ApiError(415, f"the header Content-Type {named}; bodies are application/json", code="wrong_content_type")
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        raise ApiError(415, "the body is encoded (Content-Encoding); send it as it is", code="wrong_content_encoding")
