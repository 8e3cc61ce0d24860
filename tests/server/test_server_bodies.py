"""Bodies that are too large, too slow, of another type, or no JSON; and that others are not disturbed by them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from http_serving import PATIENCE, Served, rest, serving, status

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.errors import ApiError
from heron.server.json_body import check
from heron.server.settings import Limits, Settings

LIMITS = replace(Limits(), body_bytes=10_000, json_depth=10, body_seconds=0.3)


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[Served]:
    with serving(Engine(model), Settings(limits=LIMITS)) as running:
        yield running


def error(response: httpx.Response) -> dict[str, str]:
    told = response.json()
    assert set(told) == {"error"}
    assert set(told["error"]) == {"message", "type", "param", "code"}
    return told["error"]


def test_a_body_comes_as_it_was_sent(served: Served) -> None:
    for body in ({"a": [1, 2.5, None, "ü\u0000"]}, [], "x" * 9000):
        assert served.post("/test/echo", json=body).json() == body


def test_a_body_that_is_too_large_is_refused_by_what_it_says(served: Served) -> None:
    head = b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 10001\r\n\r\n"
    answer = served.say(head)  # no body at all, and the connection is closed
    assert status(answer) == 413
    assert b'"code":"body_too_large"' in answer


def test_and_by_what_comes(served: Served) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(20):
            yield b" " * 1000

    refused = served.post("/test/echo", content=pieces(), headers={"content-type": "application/json"})
    assert refused.status_code == 413
    assert refused.headers["connection"] == "close"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "json", "é"])
def test_other_types_are_refused(served: Served, kind: str | None) -> None:
    refused = served.post("/test/echo", content=b"{}", headers={} if kind is None else {"content-type": kind.encode()})
    assert refused.status_code == 415
    assert error(refused)["code"] == "wrong_content_type"


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON; charset=utf-8", "application/vnd.api+json"])
def test_json_has_several_names(served: Served, kind: str) -> None:
    assert served.post("/test/echo", content=b"{}", headers={"content-type": kind}).status_code == 200


def test_encoded_bodies_are_refused(served: Served) -> None:
    refused = served.post("/test/echo", content=b"{}", headers={"content-type": "application/json", "content-encoding": "gzip"})
    assert (refused.status_code, error(refused)["code"]) == (415, "wrong_content_encoding")


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b'"\\ud800 alone"',
        b'"\xff"',
        b"\xef\xbb\xbf{}",
        b"{} {}",
        b"{'a': 1}",
        b"1" * 5000,
        b"1e999",
        "{}".encode("utf-16"),
    ],
)
def test_what_is_no_json_is_refused(served: Served, body: bytes) -> None:
    refused = served.post("/test/echo", content=body, headers={"content-type": "application/json"})
    assert (refused.status_code, error(refused)["code"]) == (400, "invalid_json")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 10 + b"]" * 10, 200),
        (b"[" * 11 + b"]" * 11, 400),
        (b'{"a":' * 10 + b"1" + b"}" * 10, 200),
        (b'{"a":' * 11 + b"1" + b"}" * 11, 400),
        (b'"' + b"[" * 50 + b'"', 200),
        (b"[" * 9000, 400),
        (b"[" * 4500 + b"]" * 4500, 400),
    ],
)
def test_bodies_are_nested_so_deep_and_no_deeper(served: Served, body: bytes, code: int) -> None:
    assert served.post("/test/echo", content=body, headers={"content-type": "application/json"}).status_code == code


def test_a_body_of_countless_small_things_is_refused_before_it_is_read() -> None:
    with pytest.raises(ApiError) as refused:
        check(b"[" + b"[]," * 1_000_000 + b"1]", 10)
    assert (refused.value.status, refused.value.code) == (400, "too_many_values")
    check(b"[" + b"[]," * 1000 + b"1]", 10)


def test_a_body_that_trickles_is_given_up(served: Served) -> None:
    begin = time.monotonic()
    with served.connect() as connection:
        connection.sendall(b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n[")
        answer = rest(connection)
    assert status(answer) == 408
    assert 0.2 < time.monotonic() - begin < PATIENCE


def test_a_client_that_goes_in_the_midst_of_its_body_leaves_nothing(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 20\r\n\r\n[")
    assert served.get("/v1/models").status_code == 200
    assert served.is_idle()
