"""Errors as clients read them: a status and ``{"error": {message, type, param, code}}``, whatever went wrong and wherever."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from heron.errors import EngineClosed, HeronError, QueueFull, RequestError, RequestTimeout, UnsupportedError

_log = logging.getLogger("heron.server")

#: Status -> the type that clients know it by.
_TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    500: "server_error",
    501: "not_supported_error",
    503: "unavailable_error",
    504: "timeout_error",
}


class ApiError(Exception):
    """An answer that is an error. ``param`` names the parameter that was wrong, ``code`` what a program may act on.

    ``type`` is OpenAI's for the status where none is given.
    """

    def __init__(
        self,
        status: int,
        message: str,
        type: str | None = None,
        param: str | None = None,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code
        self.type = type or _TYPES.get(status, "invalid_request_error")
        self.headers = dict(headers or {})

    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    def response(self) -> Response:
        """As a response; usable as an ASGI application too."""
        return Response(msgspec.json.encode(self.body()), self.status, self.headers, "application/json")


def as_api_error(error: BaseException) -> ApiError:
    """Any exception as what the client is told. What is no fault of the request says nothing about our insides."""
    match error:
        case ApiError():
            return error
        case QueueFull():
            return ApiError(429, str(error), code="queue_full", headers={"retry-after": str(max(1, round(error.retry_after)))})
        case EngineClosed():
            return ApiError(503, str(error), code="closing", headers={"retry-after": "5"})
        case RequestTimeout():
            return ApiError(504, str(error), code="timeout")
        case RequestError():
            return ApiError(400, str(error), param=error.param)
        case UnsupportedError():
            return ApiError(400, str(error), code="unsupported")
        case HeronError():
            return ApiError(500, str(error))
        case RequestValidationError():
            return _validation(error)
        case HTTPException():
            return ApiError(error.status_code, _HTTP.get(error.status_code, str(error.detail)), headers=error.headers)
        case _:
            return ApiError(500, "the server failed at this request; its log says why")


def report(error: BaseException) -> ApiError:
    """The same, and a line in the log with the traceback where the fault is ours."""
    told = as_api_error(error)
    if told.status == 500:
        _log.error("a request failed: %s", error, exc_info=error)
    return told


_HTTP = {
    404: "there is no such path; GET /docs lists those that there are",
    405: "this path does not take this method; the header Allow says which it takes",
}


def _validation(error: RequestValidationError) -> ApiError:
    """The first thing that is wrong with a body; ``param`` is its place, as in ``messages.0.content``."""
    first = error.errors()[0]
    place = ".".join(_place(first["loc"], {"body": error.body}, first["type"] == "missing"))
    return ApiError(400, f"{place}: {first['msg']}" if place else str(first["msg"]), param=place or None)


def _place(parts: Sequence[int | str], value: Any, missing: bool) -> list[str]:
    """Those parts of a place that are names or indices in ``value``: others name the alternatives of a type."""
    found: list[str] = []
    for at, part in enumerate(parts):
        known = part in value if isinstance(value, dict) else isinstance(value, list) and isinstance(part, int) and part < len(value)
        if known:
            value = value[part]
        if (known or (missing and at == len(parts) - 1)) and at:
            found.append(str(part).encode("ascii", "backslashreplace").decode()[:100])
    return found


class FaultsToErrors:
    """ASGI middleware, the innermost: an exception that nobody expected is logged, and is an error like others to the client."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, watched)
        except Exception as error:
            if started:
                raise
            await report(error).response()(scope, receive, send)


async def _handle(request: Request, error: Exception) -> Response:
    return report(error).response()


def install(app: FastAPI) -> None:
    """Have the application answer with errors of this shape alone."""
    for kind in (ApiError, HeronError, RequestValidationError, HTTPException):
        app.add_exception_handler(kind, _handle)
