"""A server in this process, on a loopback port, with routes of the tests' own; and clients that speak raw HTTP to it."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager
from typing import Any

import httpx
from fastapi import APIRouter, FastAPI, Request, Response

from heron import pocket
from heron.engine.engine import Engine
from heron.errors import EngineClosed
from heron.server.catalog import Catalog, Entry
from heron.server.leasing import leased
from heron.server.listening import listen
from heron.server.pool import Pool
from heron.server.room import Sizes
from heron.server.running import Server
from heron.server.schemas_model import ForModel
from heron.server.settings import Settings
from heron.server.state import ServerState, state_of
from heron.server.stream import EventStream, frame, while_connected

#: For what is awaited in a test and comes at once where nothing is wrong.
PATIENCE = 30.0


def pool_of(engine: Engine | None) -> Pool:
    """Of one model by two names, which is never loaded if it is not there yet."""
    path = engine.model.checkpoint.path if engine is not None else pocket.path()
    only = Entry(("pocket", "other"), path, pinned=True)

    def load(entry: Entry, sizes: Sizes) -> Engine:
        raise EngineClosed("the tests load it")

    pool = Pool(Catalog(lambda: [only], otherwise=only), load)
    if engine is not None:
        pool.hold(only, engine)
    return pool


class Served:
    """A server that runs in a thread."""

    def __init__(self, pool: Pool, settings: Settings) -> None:
        self.state = ServerState(settings, pool)
        self.server = Server(self.state)
        assert isinstance(self.server.config.app, FastAPI)
        self.app = self.server.config.app
        self.app.include_router(ROUTES)
        sockets = listen(settings.host, 0)
        self.address = sockets[0].getsockname()[:2]
        self.url = "http://{}:{}".format(*self.address)
        self.thread = threading.Thread(target=self.server.run, args=(sockets,), daemon=True)

    @property
    def engine(self) -> Engine:
        [resident] = self.state.pool.residents.values()
        return resident.engine

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE)

    def say(self, data: bytes) -> bytes:
        """All that comes back on a connection of its own, until the server closes it."""
        with self.connect() as connection:
            connection.sendall(data)
            return rest(connection)

    def post(self, path: str, **how: Any) -> httpx.Response:
        return httpx.post(self.url + path, timeout=PATIENCE, **how)

    def get(self, path: str, **how: Any) -> httpx.Response:
        return httpx.get(self.url + path, timeout=PATIENCE, **how)

    def is_idle(self) -> bool:
        """Whether nothing is computed, waited for or held."""
        now = self.engine.snapshot()
        return not (now.waiting or now.running or self.state.active) and all(used == 0 for used, _ in now.units.values())


def rest(connection: socket.socket) -> bytes:
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


def until(true: Callable[[], bool]) -> None:
    """Wait for it; fail where it does not come."""
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


@contextmanager
def serving(engine: Engine | None, settings: Settings | None = None) -> Iterator[Served]:
    if engine is not None:
        engine.start()
    with serving_pool(pool_of(engine), settings) as served:
        yield served


@contextmanager
def serving_pool(pool: Pool, settings: Settings | None = None) -> Iterator[Served]:
    served = Served(pool, settings or Settings())
    served.thread.start()
    until(lambda: served.server.started)
    try:
        yield served
    finally:
        served.server.should_exit = True
        served.thread.join(PATIENCE)
        assert not served.thread.is_alive(), "the server does not stop"


ROUTES = APIRouter(prefix="/test")


@ROUTES.post("/echo")
async def echo(request: Request) -> Any:
    return await request.json()


@ROUTES.get("/fault")
async def fault() -> None:
    raise KeyError("an inner secret")


@ROUTES.post("/answer")
async def answer(request: Request) -> dict[str, Any]:
    """A whole answer."""
    asked = await request.json()
    engine = (await leased(request, ForModel())).engine

    async def collect() -> str:
        async with aclosing(engine.astream(**asked)) as pieces:
            return "".join([piece.text async for piece in pieces])

    return {"text": await while_connected(request.receive, collect())}


@ROUTES.post("/stream")
async def stream(request: Request) -> Response:
    """An answer as events, each of them ``pad`` bytes longer than its text."""
    state, asked = state_of(request), await request.json()
    pad = "x" * asked.pop("pad", 0)
    pieces = (await leased(request, ForModel())).engine.astream(**asked)

    async def frames() -> AsyncGenerator[bytes, None]:
        async with aclosing(pieces):
            async for piece in pieces:
                yield frame({"text": piece.text, "pad": pad})

    return EventStream(frames(), close=lambda: CLOSED.append(asked), ping_interval=state.settings.ping_interval)


#: What streams were asked, in the order in which they ended.
CLOSED: list[Any] = []
