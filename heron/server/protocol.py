"""HTTP/1.1 over one connection: uvicorn's, with limits on headers and on clients that neither send nor take anything."""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from heron.server.errors import ApiError
from heron.server.settings import Limits


class HttpProtocol(HttpToolsProtocol):
    """Refuses headers that are too large (431) or do not come (408), answers what is no HTTP with JSON, and drops readers that stall."""

    limits = Limits()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._begun, self._header_bytes = False, 0  # headers that have begun and not ended, and what came of them
        self._refusal: ApiError | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._late: asyncio.TimerHandle | None = None
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._stalled, self._late):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    # Headers

    def _expect_headers(self) -> None:
        self._late = self.loop.call_later(self.limits.header_seconds, self._headers_are_late)

    def _headers_are_late(self) -> None:
        """Nobody is told where nothing was asked."""
        if self._begun:
            self._refuse(ApiError(408, f"the headers did not come within {self.limits.header_seconds:g} s", code="slow_headers"))
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        if self._late is None and (self.cycle is None or self.cycle.response_complete):
            self._expect_headers()
        self._header_bytes += len(data) if self._begun else 0
        super().data_received(data)
        if self._begun and self._header_bytes > self.limits.header_bytes:
            self._refuse(self._too_large())

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._begun, self._header_bytes = True, 0

    def on_headers_complete(self) -> None:
        self._begun = False
        if self._late is not None:
            self._late.cancel()
            self._late = None
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > self.limits.header_bytes:
            self._refusal = self._too_large()
            raise ValueError  # makes the parser stop, and so send_400_response
        super().on_headers_complete()

    def _too_large(self) -> ApiError:
        return ApiError(431, f"the headers are larger than {self.limits.header_bytes} bytes", code="headers_too_large")

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal or ApiError(400, "this is not valid HTTP/1.1", code="invalid_http"))

    def _refuse(self, error: ApiError) -> None:
        """Answer, unless another answer is on its way, and hang up."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            response = error.response()
            headers = [*response.raw_headers, (b"connection", b"close")]
            lines = [STATUS_LINE[error.status], *(name + b": " + value + b"\r\n" for name, value in headers), b"\r\n"]
            self.transport.write(b"".join(lines) + bytes(response.body))
        self.transport.close()

    # Readers that stall

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self.transport.get_write_buffer_size():
            self._watch()

    def _watch(self) -> None:
        if self._stalled is None:
            left = self.transport.get_write_buffer_size()
            self._stalled = self.loop.call_later(self.limits.stall_seconds, self._give_up, left)

    def _give_up(self, before: int) -> None:
        """Drop a client that has taken nothing of what waits for it since there were ``before`` bytes."""
        self._stalled = None
        left = self.transport.get_write_buffer_size()
        if left >= before:
            self.transport.abort()
        elif left:
            self._watch()


def protocol(limits: Limits) -> type[HttpProtocol]:
    """The protocol with these limits, for uvicorn's ``http``."""
    return type("HttpProtocol", (HttpProtocol,), {"limits": limits})
