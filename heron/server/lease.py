"""A place in the line for a model, and its engine once it is there."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.server.catalog import Entry

if TYPE_CHECKING:
    from heron.server.pool import Pool
    from heron.server.resident import Resident


class Lease:
    """Begins in the line. From when it is ``granted`` on, and until it is released, the model is not unloaded."""

    def __init__(self, pool: Pool, entry: Entry, keep_alive: float | None) -> None:
        self.entry, self.keep_alive = entry, keep_alive
        self.waited = 0.0  # seconds in the line
        self._pool, self._asked = pool, time.perf_counter()
        self._resident: Resident | None = None
        self._settled: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def name(self) -> str:
        """What answers call the model."""
        return self.entry.name

    @property
    def engine(self) -> Engine:
        assert self._resident is not None, "the lease is not granted yet, or was given back"
        return self._resident.engine

    @property
    def model(self) -> Model:
        return self.engine.model

    @property
    def waits(self) -> bool:
        return not self._settled.done()

    async def ready(self) -> Lease:
        """Wait for the engine. Raises why there is none. Who is cancelled here still has to release it."""
        await asyncio.shield(self._settled)
        return self

    def grant(self, resident: Resident, now: float) -> None:
        """``now`` is by the pool's clock."""
        self._resident, self.waited = resident, time.perf_counter() - self._asked
        resident.leases, resident.used = resident.leases + 1, now
        if self.keep_alive is not None:
            resident.keep_alive = self.keep_alive
        self._settled.set_result(None)

    def fail(self, error: Exception) -> None:
        self._settled.set_exception(error)
        self._settled.exception()  # perhaps nobody waits any more

    def release(self) -> None:
        """Leave the line, or give the engine back. The second time nothing happens."""
        resident, self._resident = self._resident, None
        if resident is not None:
            resident.leases -= 1
        self._settled.cancel()
        self._pool.released(self, resident)


class Farewell:
    """In the line: a model is to go when what is before this in the line, and whoever has it, is done."""

    def __init__(self, entry: Entry) -> None:
        self.entry = entry
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def settle(self) -> None:
        self.done.set_result(None)

    def fail(self, error: Exception) -> None:
        self.done.set_exception(error)
        self.done.exception()
