"""A server from its start to its end: loading, serving, draining, stopping."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from heron.errors import EngineClosed
from heron.server.app import create_app
from heron.server.listening import allow_many
from heron.server.logs import event
from heron.server.protocol import protocol
from heron.server.state import ServerState
from heron.server.threads import in_thread

_log = logging.getLogger("heron.server")

#: Seconds that a connection may be idle between requests; clients give theirs up before, and so never write into a closed one.
KEEP_ALIVE = 75

#: Seconds after which a thread that waits for the interpreter gets it. The engine's thread gives it up for each native call, and by
#: Python's own 5 ms a busy event loop would hold up every step: small models were seen to be 1.6 times as fast with 1 ms, and no
#: faster with less.
SWITCH = 0.001

#: Seconds in which streams come to their end once the engine is closed.
LAST_WORDS = 5


def serve(state: ServerState, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
    """Serve on bound sockets until a signal ends it.

    What is pinned is loaded first, while the server says that it is loading. ``ready`` is called then.
    The first SIGTERM or SIGINT lets running requests go on for ``drain_timeout`` and refuses others; a second one stops at once.
    Raises what loading such a model raises.
    """
    allow_many()
    sys.setswitchinterval(SWITCH)

    def begin() -> None:
        gc.freeze()  # what is here now stays; looking at all of it for garbage, as unloading does, would hold every stream up
        ready()

    server = Server(state, begin)
    server.run(sockets)
    if server.failure is not None:
        raise server.failure
    if server.in_midst:  # a model that is being loaded cannot be interrupted
        _leave(0)


class Server(uvicorn.Server):
    """uvicorn's, that drains before it shuts down."""

    def __init__(self, state: ServerState, ready: Callable[[], None] = lambda: None) -> None:
        config = uvicorn.Config(
            create_app(state),
            http=protocol(state.settings.limits),
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=KEEP_ALIVE,
            timeout_graceful_shutdown=LAST_WORDS,
        )
        super().__init__(config)
        self.failure: BaseException | None = None
        self.signal = 0
        self.in_midst = False  # of loading or unloading a model, when all else had ended
        self._state, self._ready = state, ready
        self._starting: asyncio.Task[None] | None = None
        self._drained_by: float | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._starting = asyncio.ensure_future(self._load())

    async def _load(self) -> None:
        """What must be there before anything is answered. A failure ends the server."""
        try:
            await self._state.pool.start()
            self._ready()
            await in_thread(self._state.pool.catalog.survey)
        except EngineClosed:
            pass  # it was stopped before
        except Exception as error:
            self.failure, self.should_exit = error, True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called between any two instructions of the main thread: nothing is done here but to remember it."""
        if self._state.draining:
            self.signal, self.force_exit, self.should_exit = sig, True, True
        self._state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
        self._state.pool.tick()
        if self._state.draining:
            now, settings = time.monotonic(), self._state.settings
            if self._drained_by is None:
                self._drained_by = now + settings.drain_timeout
                event(_log, logging.INFO, "draining: no new requests", running=self._state.active, drain_timeout=settings.drain_timeout)
            if not self._state.active or now >= self._drained_by:
                self.should_exit = True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what is left, each stream with an error of its own; at once if a second signal comes, or came."""
        ending = asyncio.ensure_future(self._end(sockets))
        while not (ending.done() or self.force_exit):
            await asyncio.wait({ending}, timeout=0.1)
        event(_log, logging.INFO, "stopped", unfinished=self._state.active)
        if not ending.done():
            _leave(128 + self.signal)
        ending.result()
        self.in_midst = self._state.pool.is_moving

    async def _end(self, sockets: list[socket.socket] | None) -> None:
        closing = asyncio.ensure_future(self._state.pool.close())
        await super().shutdown(sockets)
        await closing


def _leave(status: int) -> None:
    """End the process though threads run: a step, or the loading of a model, cannot be interrupted from within."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
