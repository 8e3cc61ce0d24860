"""The models in memory: loaded when they are asked for, unloaded when their room is needed or nobody asked for long.

Everything here happens in the event loop, but for loading and unloading, which are done in a thread, one at a time.

Who asks for a model stands in a line. Those whose model is here pass at once, whatever stands before them, unless somebody before them
needs its room: then the model is *leaving*, and takes nobody new; who has it keeps it to the end. So nobody waits for ever: not for
a model that others keep busy, and not for a busy one that others want gone. If another one is free before it, that one goes in its place.
A model that comes serves all who wait for it by then.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Coroutine
from contextvars import Context
from functools import partial
from typing import Any

from heron.engine.engine import Engine
from heron.errors import EngineClosed, QueueFull
from heron.server.catalog import Catalog, Entry
from heron.server.counts import Counts
from heron.server.errors import ApiError
from heron.server.lease import Farewell, Lease
from heron.server.line import Line
from heron.server.logs import event
from heron.server.resident import Resident
from heron.server.room import FULL, Room, Sizes
from heron.server.threads import in_thread

_log = logging.getLogger("heron.server")

#: Seconds that a model stays where nobody says otherwise.
KEEP_ALIVE = 300.0

#: Makes an engine, and starts it; called in a thread.
Load = Callable[[Entry, Sizes], Engine]


class Pool:
    """``load`` makes engines; ``queue`` is how many may wait in the line. ``clock`` is what models' time is kept by."""

    def __init__(
        self,
        catalog: Catalog,
        load: Load,
        room: Room | None = None,
        *,
        keep_alive: float = KEEP_ALIVE,
        queue: int = 512,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.catalog = catalog
        self.residents: dict[Entry, Resident] = {}
        self.loading: Entry | None = None
        self.counts = Counts()
        self._load, self._room, self._keep_alive, self._queue, self._clock = load, room or Room(), keep_alive, queue, clock
        catalog.context = self._room.context  # what is listed is what will be
        self._line = Line()
        self.leaving: Resident | None = None
        self._mover: asyncio.Task[None] | None = None
        self._stirred = asyncio.Event()
        self._closed = False

    # Asking

    @property
    def is_ready(self) -> bool:
        """Whether all models are here that must always be."""
        return all(entry in self.residents for entry in self.catalog.entries if entry.pinned)

    @property
    def is_moving(self) -> bool:
        """Whether a model is being loaded or unloaded, or is about to be."""
        return self._mover is not None

    @property
    def waiting(self) -> list[Lease]:
        return self._line.leases

    @property
    def latest(self) -> Entry | None:
        """The model that was used last, of those that can be asked for."""
        known = [one for one in self.residents.values() if one.entry in self.catalog.entries]
        return max(known, key=lambda one: one.used).entry if known else None

    @property
    def bounds(self) -> str:
        """How many models there can be, and how long they stay, for people."""
        stays = "stays" if math.isinf(self._keep_alive) else f"goes after {self._keep_alive:g} s"
        return f"{self._room}; a model that nobody asks {stays}"

    def status(self, entry: Entry) -> str:
        if entry in self.residents:
            return "loaded"
        return "loading" if entry == self.loading else "unloaded"

    def hold(self, entry: Entry, engine: Engine) -> None:
        """Take a model that is loaded already."""
        self.residents[entry] = Resident(entry, engine, self._keep_alive, used=self._clock())

    def ask(self, entry: Entry, keep_alive: float | None = None) -> Lease:
        """A place in the line, which must be released whatever comes of it. Raises QueueFull and EngineClosed."""
        self._must_be_open()
        lease = Lease(self, entry, keep_alive)
        self._line.join(lease)
        self._advance()
        if lease.waits and len(self._line) > self._queue:
            lease.release()
            raise QueueFull(f"{self._queue} requests wait for a model already, and no more may; ask again later", self.counts.pace)
        return lease

    async def unload(self, entry: Entry) -> None:
        """Have a model go as soon as nobody has it; returns when it is gone. Raises ApiError 400 for one that stays."""
        if entry.pinned:
            raise ApiError(400, f"the model {entry.name!r} was named when the server was started, and stays", param="model", code="pinned")
        self._must_be_open()
        farewell = Farewell(entry)
        self._line.join(farewell)
        self._advance()
        try:
            await asyncio.shield(farewell.done)
        finally:
            self._line.leave(farewell)
            self._advance()

    def _must_be_open(self) -> None:
        if self._closed:
            raise EngineClosed("the server is stopping")

    async def start(self) -> None:
        """Load what must always be here. Raises why that cannot be."""
        for entry in self.catalog.entries:
            if entry.pinned and not self._closed:
                lease = self.ask(entry)
                try:
                    await lease.ready()
                except ApiError as error:
                    raise error.__cause__ or error from None
                finally:
                    lease.release()

    def tick(self) -> None:
        """To be called now and then: models whose time is over go."""
        self._advance()

    def released(self, lease: Lease, resident: Resident | None) -> None:
        """A lease's way of saying that it is over."""
        if resident is not None:
            resident.used = self._clock()
        self._line.leave(lease)
        self._advance()

    async def close(self) -> None:
        """End everything; what runs and who waits gets EngineClosed. What is being loaded ends when it is."""
        self._closed = True
        self._line.fail(EngineClosed("the server is stopping"))
        self._stirred.set()
        residents = list(self.residents.values())
        await asyncio.gather(*(in_thread(one.engine.close) for one in residents))

    # The line

    def _advance(self) -> None:
        """Whatever changed, see who can go on."""
        self._grant()
        if self._mover is None and not self._closed and self._next() is not None:
            self._mover = Context().run(lambda: asyncio.ensure_future(self._move()))  # what it logs is of no one request
        self._stirred.set()

    def _grant(self) -> None:
        going = [self.leaving.entry] if self.leaving is not None else []
        coming = [self.loading] if self.loading is not None else []
        self._line.pass_on(self.residents, going, coming, self._clock())

    async def _move(self) -> None:
        """Load and unload, in the order of the line, until there is nothing to do."""
        try:
            while not self._closed and (work := self._next()) is not None:
                await work()
                self._grant()
        finally:
            self._mover = None

    def _next(self) -> Callable[[], Coroutine[Any, Any, None]] | None:
        """What the first in the line waits for; or the end of a model whose time is over."""
        match self._line.first(self.residents):
            case Lease() as lease:
                return partial(self._bring, lease.entry)
            case Farewell() as farewell:
                return partial(self._unload, self.residents[farewell.entry], "asked")
        now = self._clock()
        for one in self.residents.values():
            if one.expires <= now:
                return partial(self._unload, one, "idle")
            if one.entry not in self.catalog.entries and not one.leases:
                return partial(self._unload, one, "gone")
        return None

    # Loading and unloading

    async def _bring(self, entry: Entry) -> None:
        """Load a model, and make room for it before; those who wait for it get it, or hear why they do not."""
        begin = self._clock()
        try:
            engine = await self._loaded(entry, lambda: bool(self._line.wants(entry)))
        except Exception as error:
            self.counts.failed[entry.name] += 1
            if not entry.pinned and not self._closed:  # then the server ends with it, and says so
                event(_log, logging.ERROR, "a model cannot be loaded", model=entry.name, reason=str(error) or type(error).__name__)
            self._line.refuse(entry, error)
            return
        finally:
            self.loading = None
        if engine is not None:
            now = self._clock()
            self.residents[entry] = Resident(entry, engine, self._keep_alive, now - begin, now)
            self.counts.loaded(entry.name, now - begin)
            event(_log, logging.INFO, "a model is loaded", model=entry.name, seconds=round(now - begin, 3), context=engine.context_length)

    async def _loaded(self, entry: Entry, wanted: Callable[[], bool]) -> Engine | None:
        """None where nobody wants it any more."""
        need = await in_thread(lambda: self._room.foretell(entry))

        async def try_beside_others() -> Engine:
            sizes = await in_thread(lambda: self._room.sizes(need, list(self.residents.values())))
            self.loading = entry
            return await in_thread(lambda: self._made(entry, sizes))

        while not await in_thread(lambda: self._room.has(need, list(self.residents.values()))):
            if self._victim() is None:
                break  # alone it is tried, whatever was foretold
            if not await self._make_room(wanted):
                return None
        if not wanted():
            return None
        try:
            return await try_beside_others()
        except FULL:
            self.loading = None
            if self._victim() is None:
                raise
        while self._victim() is not None:
            if not await self._make_room(wanted):
                return None
        return await try_beside_others()

    def _made(self, entry: Entry, sizes: Sizes) -> Engine:
        """In a thread, which may outlast the event loop."""
        engine = self._load(entry, sizes)
        if self._closed:
            engine.close()
            raise EngineClosed("the server is stopping")
        return engine

    def _victim(self) -> Resident | None:
        """Who has to go next: the one that was used least recently, idle ones before busy ones."""
        free = [one for one in self.residents.values() if not one.entry.pinned]
        return min(free, key=lambda one: (one.leases > 0, one.used), default=None)

    async def _make_room(self, wanted: Callable[[], bool]) -> bool:
        """Unload one, which is the first that nobody has; False where room is not ``wanted`` any more before that."""
        try:
            while wanted() and not self._closed:
                victim = self._victim()
                assert victim is not None
                if not victim.leases:
                    await self._unload(victim, "room")
                    return True
                self.leaving = self.leaving or victim
                self._stirred.clear()
                await self._stirred.wait()
            return False
        finally:
            self.leaving = None

    async def _unload(self, resident: Resident, why: str) -> None:
        """Of one that nobody has."""
        del self.residents[resident.entry]
        self.counts.unloaded(resident.entry.name, why, resident.engine.snapshot())
        begin = self._clock()
        try:
            await in_thread(resident.close)
        except Exception:
            _log.exception("a model that was unloaded did not end well")
        self.counts.swap_seconds += self._clock() - begin
        event(_log, logging.INFO, "a model is unloaded", model=resident.entry.name, why=why)
