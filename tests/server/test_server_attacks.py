"""What clients should not do, all of it, while a neighbour's stream is read: it gets each token, and nothing is left behind."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import httpx
import pytest
from http_serving import Served, rest, serving, until

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.settings import Limits, Settings

LIMITS = replace(Limits(), header_bytes=8192, header_seconds=1, body_bytes=100_000, body_seconds=1, stall_seconds=1, queue=64)
POST = b"POST /test/stream HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
ASKED = {"prompt": "Hello", "ignore_eos": True, "temperature": 0}


def asking(**asked: object) -> bytes:
    body = json.dumps(ASKED | asked).encode()
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


def send(served: Served, *parts: bytes, read: bool = False) -> None:
    """On a connection of its own, which is then closed whatever happened."""
    with contextlib.suppress(OSError), served.connect() as connection:
        for part in parts:
            connection.sendall(part)
        if read:
            rest(connection)


def random_bytes(served: Served) -> None:
    rng = random.Random(1)
    for _ in range(40):
        send(served, rng.randbytes(rng.randrange(1, 2000)))


def requests_with_a_fault(served: Served) -> None:
    """A request that is right but for a few bytes, in as many parts as may be."""
    rng = random.Random(2)
    for _ in range(60):
        request = bytearray(asking(max_tokens=2))
        for _ in range(rng.randrange(1, 6)):
            request[rng.randrange(len(request))] = rng.randrange(256)
        cuts = sorted(rng.sample(range(len(request)), 3))
        send(served, *(bytes(request[a:b]) for a, b in zip([0, *cuts], [*cuts, len(request)], strict=True)))


def headers_without_end(served: Served) -> None:
    send(served, b"GET / HTTP/1.1\r\n", *[b"X: " + b"a" * 8000 + b"\r\n"] * 50)


def bodies_without_end(served: Served) -> None:
    send(served, POST + b"Content-Length: 999999999999\r\n\r\n", *[b"[" * 8000] * 50, read=True)
    send(served, POST + b"Transfer-Encoding: chunked\r\n\r\n", *[b"1f40\r\n" + b" " * 8000 + b"\r\n"] * 50, read=True)


def bodies_that_are_nested(served: Served) -> None:
    for opening in (b"[", b'{"a":', b'[{"a":'):
        body = opening * 10_000
        send(served, POST + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % len(body), body, read=True)


def smuggling(served: Served) -> None:
    for headers in (b"Content-Length: 2\r\nContent-Length: 40\r\n", b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"):
        send(served, POST + headers + b"\r\n{}", asking(max_tokens=2), read=True)


def going_away(served: Served) -> None:
    for count in range(20):
        send(served, asking(max_tokens=500, prompt=[7] * (1 + 40 * count)))


def many_connections(served: Served) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(served.connect())


def half_a_request(served: Served) -> None:
    send(served, POST, read=True)
    send(served, asking(max_tokens=2)[:-5], read=True)


def not_reading(served: Served) -> None:
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(served.address)
        connection.sendall(asking(max_tokens=100, pad=90_000))
        until(lambda: served.engine.snapshot().statistics.ended["cancelled"] > 0)


def hosts_and_paths(served: Served) -> None:
    for host in (b"", b"a/b?c#d", b"\xff", b"[::1", b"a" * 5000, b"a\r\nHost: b"):
        for target in (b"*", b"http://[", b"//a//..//", b"/%00", b"/%ff%fe", b"/" + b"a/" * 2000, b"/v1/models/%2e%2e%2f"):
            send(served, b"GET " + target + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n", read=True)


def a_burst(served: Served) -> None:
    """More than may wait: the queue fills, others are refused, all go away."""
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(served.connect()).sendall(asking(max_tokens=200))


ATTACKS: list[Callable[[Served], None]] = [
    random_bytes,
    requests_with_a_fault,
    headers_without_end,
    bodies_without_end,
    bodies_that_are_nested,
    smuggling,
    hosts_and_paths,
    half_a_request,
    many_connections,
    going_away,
    a_burst,
    not_reading,
]


LONG = ASKED | {"max_tokens": 300}


@pytest.fixture
def expected(model: Model) -> list[str]:
    with Engine(model) as engine:
        return [piece.text for piece in engine.stream(**LONG)]


@pytest.fixture
def served(model: Model, expected: list[str]) -> Iterator[Served]:
    with serving(Engine(model, max_seqs=4), Settings(limits=LIMITS)) as running:
        yield running


def test_a_neighbour_reads_on(served: Served, expected: list[str]) -> None:
    found: list[list[str]] = []
    over = threading.Event()

    def neighbour() -> None:
        """Asks again and again, until the attacks are over."""
        with httpx.Client(timeout=60) as client:
            while not over.is_set():
                with client.stream("POST", f"{served.url}/test/stream", json=LONG) as response:
                    if response.status_code == 429:  # in the burst: a refusal, not a stream that broke
                        continue
                    assert response.status_code == 200
                    lines = [line[6:] for line in response.iter_lines() if line.startswith("data: ")]
                assert lines.pop() == "[DONE]"
                found.append([json.loads(line)["text"] for line in lines])

    reader = threading.Thread(target=neighbour, daemon=True)
    reader.start()
    try:
        for attack in ATTACKS:
            attack(served)
            assert served.get("/health").status_code == 200, attack.__name__
            assert reader.is_alive(), attack.__name__
    finally:
        over.set()
        reader.join(60)
    assert found
    assert all(answer == expected for answer in found)
    until(served.is_idle)
    until(lambda: not served.server.server_state.connections)
