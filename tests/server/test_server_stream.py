"""Streams of events: pings, errors in their midst, and clients that go away at any moment."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from http_serving import CLOSED, Served, serving, until

from heron.backends.base import Ticket
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.settings import Settings

LONG = {"prompt": "Hello", "max_tokens": 900, "ignore_eos": True, "temperature": 0}
SHORT = LONG | {"max_tokens": 12}


@pytest.fixture
def served(model: Model) -> Iterator[Served]:
    """A server with place for one request, and others in its queue."""
    CLOSED.clear()
    with serving(Engine(model, max_seqs=1, step_tokens=16), Settings(ping_interval=0.1)) as running:
        yield running


@pytest.fixture
def slow(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step takes at least 10 ms."""
    submit = model.executable.submit

    def slowly(*args: Any) -> Ticket:
        time.sleep(0.01)
        return submit(*args)

    monkeypatch.setattr(model.executable, "submit", slowly)


def events(lines: Iterator[str]) -> Iterator[Any]:
    for line in lines:
        if line.startswith("data: ") and line != "data: [DONE]":
            yield json.loads(line[6:])


def test_events_come_as_they_are_made(served: Served) -> None:
    whole = served.post("/test/answer", json=SHORT).json()["text"]
    with httpx.stream("POST", f"{served.url}/test/stream", json=SHORT) as response:
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert response.headers["cache-control"] == "no-cache"
        lines = list(response.iter_lines())
    assert lines[-2:] == ["data: [DONE]", ""]
    found = list(events(iter(lines)))
    assert len(found) == 12
    assert "".join(event["text"] for event in found) == whole
    until(lambda: CLOSED == [SHORT])


@pytest.mark.usefixtures("slow")
def test_a_long_silence_is_filled_with_comments(served: Served) -> None:
    with (
        httpx.stream("POST", f"{served.url}/test/stream", json=LONG),
        httpx.stream("POST", f"{served.url}/test/stream", json=SHORT) as waiting,  # for the other one to end
    ):
        lines = waiting.iter_lines()
        assert [next(lines) for _ in range(4)] == [": ping", "", ": ping", ""]
    until(served.is_idle)


def test_an_error_in_the_midst_of_a_stream_is_an_event(served: Served, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    with httpx.stream("POST", f"{served.url}/test/stream", json=LONG) as response:
        lines = response.iter_lines()
        next(lines)
        monkeypatch.setattr(model.executable, "submit", lambda *_: 1 / 0)
        left = list(lines)
    error = list(events(iter(left)))[-1]["error"]
    assert (error["type"], error["param"]) == ("server_error", None)
    assert left[-2:] == ["data: [DONE]", ""]
    until(lambda: CLOSED == [LONG])
    until(served.is_idle)


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize("path", ["/test/stream", "/test/answer"])
@pytest.mark.parametrize("state", ["waiting", "prompt", "answer"])
def test_a_client_that_goes_away_leaves_nothing(served: Served, path: str, state: str) -> None:
    """Wherever its request is, and whether it reads a stream or waits for the whole."""
    other = served.engine.submit("Hello", max_tokens=900, ignore_eos=True) if state == "waiting" else None
    asked = LONG | ({"prompt": [7] * 900} if state == "prompt" else {})  # a prompt of 57 steps
    body = json.dumps(asked).encode()
    connection = served.connect()
    connection.sendall(b"POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n" % path.encode())
    connection.sendall(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    until(lambda: state in [doing.state for doing in [*served.engine.snapshot().waiting, *served.engine.snapshot().running]])
    before = time.monotonic()
    connection.close()
    if other is None:
        until(served.is_idle)
    else:
        until(lambda: not served.engine.snapshot().waiting and not served.state.active)
        assert served.engine.snapshot().running
        served.engine.cancel(other)
        until(served.is_idle)
    assert time.monotonic() - before < 5  # of the nine seconds that the request would have taken
    assert served.engine.snapshot().statistics.ended["cancelled"] == (1 if other is None else 2)


@pytest.mark.usefixtures("slow")
def test_neighbours_of_clients_that_go_away_read_on(model: Model) -> None:
    asked = SHORT | {"max_tokens": 40}
    with Engine(model) as engine:
        expected = [piece.text for piece in engine.stream(**asked)]
    with serving(Engine(model, max_seqs=4), Settings()) as served:
        with httpx.stream("POST", f"{served.url}/test/stream", json=asked) as response:
            lines = response.iter_lines()
            found = [next(events(lines))]
            for _ in range(8):
                with httpx.stream("POST", f"{served.url}/test/stream", json=LONG) as leaving:
                    next(leaving.iter_lines())
            found += list(events(lines))
        assert [event["text"] for event in found] == expected
        until(served.is_idle)
