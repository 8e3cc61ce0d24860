"""The OpenAPI document: as FastAPI writes it, with errors as they are."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel


class ErrorDetail(BaseModel):
    """`message` is for people, `type` and `code` for programs; `param` names the parameter that was wrong."""

    message: str
    type: str
    param: str | None = None
    code: str | None = None


class ErrorBody(BaseModel):
    """Every error has this shape."""

    error: ErrorDetail


_EXAMPLE = ErrorBody(
    error=ErrorDetail(message="temperature is -1; give a number from 0 to 100", type="invalid_request_error", param="temperature")
).model_dump()

_STATUSES = {
    400: "The request is wrong: a value, the JSON, a prompt longer than the context",
    401: "The API key is missing or wrong",
    404: "There is no such path, or no such model",
    408: "The body came too slowly",
    413: "The body is too large",
    415: "The body is not `application/json`",
    429: "Too many requests wait already; `Retry-After` says for how many seconds to wait",
    431: "The headers are too large",
    500: "The server failed at this request",
    503: "The model is being loaded, or the server is stopping; see `Retry-After`",
    504: "The request took longer than the server gives it",
}

#: For FastAPI: what any route may answer beside its own.
RESPONSES: dict[int | str, dict[str, Any]] = {status: {"model": ErrorBody, "description": text} for status, text in _STATUSES.items()}
RESPONSES[400]["content"] = {"application/json": {"example": _EXAMPLE}}

DESCRIPTION = """
The APIs that clients of language models speak already, over the models that this server has. Point any OpenAI client at `/v1`.

With keys (`heron serve --api-key`), send one as `Authorization: Bearer KEY` or as `x-api-key: KEY`.
Every response has an `x-request-id`; give one of your own, and it is used.
"""


def install(app: FastAPI) -> None:
    """Have the document say of wrong values what is done: 400, not FastAPI's 422."""
    plain = app.openapi

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            schema = plain()
            for path in schema["paths"].values():
                for operation in path.values():
                    operation["responses"].pop("422", None)
            for name in ("HTTPValidationError", "ValidationError"):
                schema.get("components", {}).get("schemas", {}).pop(name, None)
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
