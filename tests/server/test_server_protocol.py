"""Connections: headers without end, requests that are no HTTP, and clients that neither send nor read."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from http_serving import PATIENCE, Served, rest, serving, status, until

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.settings import Limits, Settings

LIMITS = replace(Limits(), header_bytes=4096, header_seconds=0.3, stall_seconds=0.3)
GET = b"GET /v1/models HTTP/1.1\r\nHost: a\r\n"


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[Served]:
    with serving(Engine(model), Settings(limits=LIMITS)) as running:
        yield running


def refused(answer: bytes, code: int) -> bytes:
    """The body of an answer that is an error of this status in our shape, after which the connection was closed."""
    assert status(answer) == code
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"connection: close" in head
    assert b"content-type: application/json" in head
    assert body.startswith(b'{"error":{"message":')
    return body


@pytest.mark.parametrize("headers", [b"X: " + b"a" * 5000, b"\r\n".join(b"X%d: a" % i for i in range(1000))])
def test_headers_that_are_too_large(served: Served, headers: bytes) -> None:
    assert b"headers_too_large" in refused(served.say(GET + headers + b"\r\n\r\n"), 431)


def test_headers_without_end_are_not_collected(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(GET + b"X: ")
        sent = 0
        try:
            while sent < 50 << 20:
                sent += connection.send(b"a" * 65536)
        except OSError:
            pass
    assert sent < 50 << 20
    assert served.get("/health").status_code == 200


def test_a_path_that_is_too_long(served: Served) -> None:
    refused(served.say(b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: a\r\n\r\n"), 431)


def test_headers_that_do_not_come(served: Served) -> None:
    begin = time.monotonic()
    assert b"slow_headers" in refused(served.say(GET + b"X: "), 408)
    assert served.say(b"") == b""  # who asks nothing is told nothing
    assert time.monotonic() - begin < PATIENCE


def test_headers_that_do_not_come_on_a_connection_that_was_used(served: Served) -> None:
    with served.connect() as connection:
        connection.sendall(GET + b"\r\n")
        assert status(connection.recv(65536)) == 200
        connection.sendall(GET)
        refused(rest(connection), 408)


def test_many_requests_on_one_connection_are_not_one_large_one(served: Served) -> None:
    with served.connect() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(20):
            connection.sendall(GET)
            time.sleep(0.002)  # the second part comes by itself, and is counted
            connection.sendall(b"X: " + b"a" * 400 + b"\r\n")
            connection.sendall(b"\r\n")
            assert status(connection.recv(65536)) == 200


def test_a_slow_stream_is_not_taken_for_slow_headers(served: Served) -> None:
    with served.connect() as connection:
        body = b'{"prompt": "Hello", "max_tokens": 3}'
        connection.sendall(b"POST /test/answer HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n")
        connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body))
        time.sleep(0.5)  # the headers are there; the body may take longer than they
        connection.sendall(body)
        assert status(connection.recv(65536)) == 200


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        b"GET\r\n\r\n",
        b"GET /v1/models HTTP/9.9\r\n\r\n",
        b"GET http:// HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
        GET + b"Bad Name: x\r\n\r\n",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n{}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1e3\r\n\r\n{}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999999\r\n\r\n{}",
        b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(served: Served, request_: bytes) -> None:
    refused(served.say(request_), 400)


def test_requests_that_come_together_are_answered_in_their_order(served: Served) -> None:
    last = GET.replace(b"/v1/models", b"/nowhere") + b"Connection: close\r\n\r\n"
    answer = served.say((GET + b"\r\n") * 2 + last)
    assert re.findall(rb"HTTP/1.1 (\d+)", answer) == [b"200", b"200", b"404"]


def test_a_reader_that_stalls_is_dropped(served: Served) -> None:
    """With it goes what was computed for it; who only reads slowly is served."""
    stalled, slow = stream(served, 60_000), stream(served, 6_000)  # the first is more than the system takes in for a client
    until(lambda: len(served.engine.snapshot().running) == 2)
    read = b""
    while part := slow.recv(4096):
        read += part
        time.sleep(0.001)
    slow.close()
    assert read.count(b"data: ") == 201
    assert read.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
    until(served.is_idle)
    assert not rest(stalled).endswith(b"0\r\n\r\n")
    stalled.close()


def stream(served: Served, size: int) -> socket.socket:
    """A client that asks for 200 events of this size, and lets the system keep little of them for it."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(PATIENCE)
    connection.connect(served.address)
    body = b'{"prompt": "Hello", "max_tokens": 200, "ignore_eos": true, "pad": %d}' % size
    head = (
        b"POST /test/stream HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        % len(body)
    )
    connection.sendall(head + body)
    return connection
