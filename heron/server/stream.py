"""Server-sent events: an async generator of frames as a response that notices when nobody reads it any more.

    async def frames(pieces) -> AsyncGenerator[bytes, None]:
        async for piece in pieces:
            yield frame(chunk_of(piece))

    @router.post("/v1/completions")
    async def complete(request: Request, ...) -> Response:
        pieces = ...    # begin the engine's request before the response, so that a refusal has a status of its own
        return EventStream(frames(pieces), close=pieces.cancel, ping_interval=settings.ping_interval)

A response that is no stream awaits ``while_connected(request.receive, work)``, which cancels the work when the client goes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any, TypeVar

import msgspec
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from heron.server.errors import ApiError, report

_log = logging.getLogger("heron.server")

T = TypeVar("T")

#: How the stream ends in OpenAI's APIs.
DONE = b"data: [DONE]\n\n"

#: A comment, which readers of events skip; it keeps proxies and clients from taking a long silence for the end.
PING = b": ping\n\n"


def frame(data: Any, event: str | None = None) -> bytes:
    """One event: ``data`` as JSON (bytes are JSON already), after the event's name where it has one."""
    payload = data if isinstance(data, bytes) else msgspec.json.encode(data)
    name = b"" if event is None else b"event: " + event.encode() + b"\n"
    return name + b"data: " + payload + b"\n\n"


def error_frame(error: ApiError) -> bytes:
    """An error in the midst of a stream, as OpenAI's clients raise it."""
    return frame(error.body())


class ClientGone(ApiError):
    """Nobody reads this; 499 is what the log calls it."""

    def __init__(self) -> None:
        super().__init__(499, "the client disconnected", code="disconnected")


class EventStream(Response):
    """Sends each frame as it comes, and a comment every ``ping_interval`` seconds without one, then ``end``.

    The generator is closed and then ``close`` is called, whatever ends the stream: no more frames, a failure (of which the client is
    told by ``on_error``), or that the client disconnects, which is noticed at once. A frame is asked for only when the one before was
    handed to the connection, whose buffer is bounded: a reader that stalls holds the generator up, until the connection is given
    up (``Limits.stall_seconds``, protocol.py), which looks like a client that went away.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        close: Callable[[], None],
        ping_interval: float,
        end: bytes = DONE,
        on_error: Callable[[ApiError], bytes] = error_frame,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.frames, self.close, self.ping_interval = frames, close, ping_interval
        self.end, self.on_error = end, on_error
        self.status_code, self.background = 200, None
        # Proxies are asked to pass events on as they come.
        self.init_headers({"cache-control": "no-cache", "x-accel-buffering": "no", **(headers or {})})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await while_connected(receive, self._send_frames(send))
        except ClientGone:
            _log.info("the client went away in the midst of its answer")
        finally:
            try:
                await self.frames.aclose()
            finally:
                self.close()

    async def _send_frames(self, send: Send) -> None:
        self._sent = 0
        pings = asyncio.ensure_future(self._send_pings(send))
        try:
            async for data in self.frames:
                self._sent += 1
                await send({"type": "http.response.body", "body": data, "more_body": True})
            last = self.end
        except Exception as error:
            last = self.on_error(report(error)) + self.end
        finally:
            pings.cancel()
        await send({"type": "http.response.body", "body": last, "more_body": False})

    async def _send_pings(self, send: Send) -> None:
        while True:
            sent = self._sent
            await asyncio.sleep(self.ping_interval)
            if sent == self._sent:
                await send({"type": "http.response.body", "body": PING, "more_body": True})


async def while_connected(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` returns or raises. If the client disconnects first, ``work`` is cancelled and ClientGone is raised.

    ``receive`` is the request's (``request.receive``), whose body must have been read.
    """
    working, listening = asyncio.ensure_future(work), asyncio.ensure_future(_disconnected(receive))
    try:
        await asyncio.wait((working, listening), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientGone
        return working.result()
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
