"""A server from its start to its end: loading, serving, draining, stopping."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from heron.engine.engine import Engine
from heron.server.app import create_app
from heron.server.listening import allow_many
from heron.server.logs import event
from heron.server.protocol import protocol
from heron.server.state import ServerState

_log = logging.getLogger("heron.server")

#: Seconds that a connection may be idle between requests; clients give theirs up before, and so never write into a closed one.
KEEP_ALIVE = 75

#: Seconds after which a thread that waits for the interpreter gets it. The engine's thread gives it up for each native call, and by
#: Python's own 5 ms a busy event loop would hold up every step: small models were seen to be 1.6 times as fast with 1 ms, and no
#: faster with less.
SWITCH = 0.001

#: Seconds in which streams come to their end once the engine is closed.
LAST_WORDS = 5


def serve(state: ServerState, sockets: list[socket.socket], load: Callable[[], Engine], ready: Callable[[Engine], None]) -> None:
    """Serve on bound sockets until a signal ends it.

    ``load`` gives the engine; it is called in a thread, while the server says that it is loading. ``ready`` is called then.
    The first SIGTERM or SIGINT lets running requests go on for ``drain_timeout`` and refuses others; a second one stops at once.
    Raises what ``load`` raises.
    """
    allow_many()
    sys.setswitchinterval(SWITCH)
    server = Server(state)
    loader = threading.Thread(target=server.load, args=(load, ready), name="heron-load", daemon=True)
    loader.start()
    server.run(sockets)
    if server.failure is not None:
        raise server.failure
    if loader.is_alive():
        _leave(0)


class Server(uvicorn.Server):
    """uvicorn's, that drains before it shuts down."""

    def __init__(self, state: ServerState) -> None:
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
        self._state = state
        self._drained_by: float | None = None

    def load(self, load: Callable[[], Engine], ready: Callable[[Engine], None]) -> None:
        """Make the engine. For a thread; a failure ends the server."""
        try:
            engine = load()
            engine.start()
            self._state.engine = engine
            ready(engine)
        except BaseException as error:
            self.failure, self.should_exit = error, True

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Called between any two instructions of the main thread: nothing is done here but to remember it."""
        if self._state.draining:
            self.signal, self.force_exit, self.should_exit = sig, True, True
        self._state.draining = True

    async def on_tick(self, counter: int) -> bool:
        """Called ten times a second."""
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

    async def _end(self, sockets: list[socket.socket] | None) -> None:
        engine = self._state.engine
        closing = asyncio.ensure_future(asyncio.to_thread(engine.close)) if engine is not None else None
        await super().shutdown(sockets)
        if closing is not None:
            await closing


def _leave(status: int) -> None:
    """End the process though threads run: a step, or the loading of a model, cannot be interrupted from within."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
