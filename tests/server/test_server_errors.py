"""Every error has one shape, wherever it arises."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from http_serving import PATIENCE, Served, serving, until
from pydantic import BaseModel, ValidationError

from heron.backends.base import Ticket
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import (
    BackendError,
    EngineClosed,
    HeronError,
    QueueFull,
    RequestError,
    RequestTimeout,
    TemplateError,
    UnsupportedError,
)
from heron.server.errors import ApiError, as_api_error


@pytest.mark.parametrize(
    ("error", "status", "kind", "param", "code"),
    [
        (RequestError("n is 0; give more", "n"), 400, "invalid_request_error", "n", None),
        (TemplateError("no"), 400, "invalid_request_error", None, None),
        (UnsupportedError("no"), 400, "invalid_request_error", None, "unsupported"),
        (QueueFull("full", 2.6), 429, "rate_limit_error", None, "queue_full"),
        (RequestTimeout("late"), 504, "timeout_error", None, "timeout"),
        (EngineClosed("closed"), 503, "unavailable_error", None, "closing"),
        (BackendError("damaged"), 500, "server_error", None, None),
        (ApiError(418, "tea", "kettle", "pot", "short"), 418, "kettle", "pot", "short"),
    ],
)
def test_the_tree_of_errors(error: Exception, status: int, kind: str, param: str | None, code: str | None) -> None:
    told = as_api_error(error)
    assert (told.status, told.type, told.param, told.code) == (status, kind, param, code)
    assert told.message == str(error)


def test_a_full_queue_says_when_to_come_again() -> None:
    assert as_api_error(QueueFull("full", 2.6)).headers == {"retry-after": "3"}
    assert as_api_error(QueueFull("full", 0.01)).headers == {"retry-after": "1"}


def test_a_wrong_body_names_the_place() -> None:
    class Inner(BaseModel):
        content: str

    class Body(BaseModel):
        messages: list[Inner]

    body = {"messages": [{"content": "a"}, {"content": 1}]}
    with pytest.raises(ValidationError) as wrong:
        Body.model_validate(body)
    errors = [found | {"loc": ("body", *found["loc"])} for found in wrong.value.errors()]
    told = as_api_error(RequestValidationError(errors, body=body))
    assert (told.status, told.param) == (400, "messages.1.content")
    assert told.message == "messages.1.content: Input should be a valid string"


def test_what_nobody_expected_says_nothing_of_our_insides(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    failed = served.get("/test/fault")
    assert failed.status_code == 500
    assert "secret" not in failed.text
    assert failed.json()["error"]["type"] == "server_error"
    assert failed.headers["x-request-id"]
    assert "an inner secret" in caplog.text  # the log says why
    assert served.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nowhere", 404), ("GET", "/v1/models/none", 404), ("DELETE", "/health", 405), ("GET", "/health/", 404)],
)
def test_paths_and_methods_that_there_are_not(served: Served, method: str, path: str, status: int) -> None:
    with served.connect() as connection:
        connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: evil\r\nConnection: close\r\n\r\n".encode())
        answer = connection.recv(65536)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b'{"error":{"message":' in answer
    assert b"evil" not in answer


def test_every_error_of_ours_is_known() -> None:
    """An error added to the tree is at least a HeronError to clients."""
    assert as_api_error(HeronError("x")).status == 500


def test_a_queue_that_is_full_and_a_request_that_takes_too_long(another: Model) -> None:
    asked = {"prompt": "Hello", "max_tokens": 900, "ignore_eos": True}
    submit, go_on = another.executable.submit, threading.Event()

    def slowly(*args: Any) -> Ticket:
        go_on.wait(PATIENCE)
        time.sleep(0.01)
        return submit(*args)

    with pytest.MonkeyPatch.context() as patch, serving(Engine(another, max_seqs=1, max_queue=1, request_timeout=0.5)) as served:
        patch.setattr(another.executable, "submit", slowly)
        held = [served.engine.submit(**asked) for _ in range(2)]
        refused = served.post("/test/answer", json=asked)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full")
        assert int(refused.headers["retry-after"]) >= 1
        time.sleep(0.6)
        go_on.set()
        until(lambda: [request.finish_reason for request in held] == ["error", "error"])
        late = served.post("/test/answer", json=asked)
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        until(served.is_idle)
