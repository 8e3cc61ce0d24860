"""The parts of streams alone: who is told what, and in which order, when a client goes or stalls."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, replace
from typing import Any, cast

import pytest
import uvicorn
from fastapi import FastAPI
from uvicorn.server import ServerState

from heron.server.protocol import HttpProtocol, protocol
from heron.server.settings import Limits
from heron.server.stream import ClientGone, EventStream, frame, while_connected

Message = dict[str, Any]


def test_a_frame_is_one_event() -> None:
    assert frame({"a": "ü\n\n"}) == 'data: {"a":"ü\\n\\n"}\n\n'.encode()
    assert frame(b'{"raw": 1}', "named") == b'event: named\ndata: {"raw": 1}\n\n'


async def never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


async def gone() -> Message:
    return {"type": "http.disconnect"}


def test_work_is_done_while_the_client_is_there() -> None:
    async def work() -> int:
        await asyncio.sleep(0)
        return 7

    async def fail() -> int:
        raise KeyError

    assert asyncio.run(while_connected(never, work())) == 7
    with pytest.raises(KeyError):
        asyncio.run(while_connected(never, fail()))


def test_work_is_cancelled_when_the_client_goes() -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await never()
        finally:
            await asyncio.sleep(0)
            ended.append("work")

    with pytest.raises(ClientGone):
        asyncio.run(while_connected(gone, work()))
    assert ended == ["work"]


@pytest.mark.parametrize("where", ["making a frame", "sending one"])
def test_a_stream_is_closed_before_its_request_wherever_it_is(where: str) -> None:
    told: list[str] = []

    async def frames() -> AsyncGenerator[bytes, None]:
        try:
            yield b"one"
            await never()
        finally:
            told.append("frames")

    async def run() -> None:
        stuck = asyncio.Event()

        async def send(message: Message) -> None:
            told.append(str(message.get("body", "start")))
            if where == "sending one" and "body" in message:
                stuck.set()
                await never()
            elif "body" in message:
                stuck.set()

        async def receive() -> Message:
            await stuck.wait()
            await asyncio.sleep(0.01)
            return await gone()

        await EventStream(frames(), close=lambda: told.append("close"), ping_interval=9)({"type": "http"}, receive, send)
        told.append("returned")

    asyncio.run(run())
    assert told == ["start", "b'one'", "frames", "close", "returned"]


class Transport(asyncio.Transport):
    """One whose buffer is as full as a test says."""

    left = 0
    aborted = False

    def get_write_buffer_size(self) -> int:
        return self.left

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Timer:
    when: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


class Clock:
    """What a connection needs of an event loop, with a time of its own."""

    def __init__(self) -> None:
        self.now, self.timers = 0.0, list[Timer]()

    def call_later(self, seconds: float, call: Callable[..., None], *args: Any) -> Timer:
        self.timers.append(Timer(self.now + seconds, lambda: call(*args)))
        return self.timers[-1]

    def pass_(self, seconds: float) -> None:
        self.now += seconds
        due = [timer for timer in self.timers if timer.when <= self.now]
        self.timers = [timer for timer in self.timers if timer.when > self.now]
        for timer in due:
            if not timer.cancelled:
                timer.call()


@pytest.fixture
def connection() -> tuple[HttpProtocol, Transport, Clock]:
    """A connection that drops readers after 10 seconds."""
    transport, clock = Transport(), Clock()
    config = uvicorn.Config(app=FastAPI(), log_config=None)
    made = protocol(replace(Limits(), stall_seconds=10, header_seconds=1e9))(config, ServerState(), {}, cast(Any, clock))
    made.connection_made(transport)
    return made, transport, clock


Connection = tuple[HttpProtocol, Transport, Clock]


def test_a_reader_that_takes_nothing_is_dropped(connection: Connection) -> None:
    made, transport, clock = connection
    transport.left = 100_000
    made.pause_writing()
    clock.pass_(9)
    assert not transport.aborted
    clock.pass_(2)
    assert transport.aborted


def test_a_reader_that_takes_a_little_is_not(connection: Connection) -> None:
    made, transport, clock = connection
    transport.left = 100_000
    made.pause_writing()
    for _ in range(9):
        transport.left -= 10_000
        clock.pass_(11)
    assert not transport.aborted
    clock.pass_(11)  # and now it takes nothing more
    assert transport.aborted


def test_a_buffer_that_is_full_again_begins_anew(connection: Connection) -> None:
    made, transport, clock = connection
    for _ in range(5):
        transport.left = 100_000
        made.pause_writing()
        clock.pass_(6)
        transport.left = 0
        made.resume_writing()
    transport.left = 100_000
    clock.pass_(6)
    assert not transport.aborted
