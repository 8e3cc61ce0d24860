"""The line for models: who passes, who waits for whom, and who goes; with engines that only remember that they were closed."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from heron.engine.engine import Engine
from heron.engine.statistics import Snapshot
from heron.errors import CheckpointError, EngineClosed, NoRoom, QueueFull
from heron.server.catalog import Catalog, Entry
from heron.server.errors import ApiError
from heron.server.lease import Lease
from heron.server.pool import Pool
from heron.server.room import Room, Sizes

pytestmark = pytest.mark.usefixtures("few_objects")

A, B, C = (Entry((name,), Path(f"/models/{name}.gguf")) for name in "abc")


class Fake:
    """An engine that takes 10 bytes."""

    context_length = 512

    def __init__(self, entry: Entry) -> None:
        self.entry, self.closed = entry, False
        executable = SimpleNamespace(memory=lambda: {"weights": 10})
        self.model = SimpleNamespace(device="cpu", executable=executable, close=lambda: None)

    def snapshot(self) -> Snapshot:
        return Snapshot()

    def close(self) -> None:
        self.closed = True


class Case:
    """A pool of up to ``most`` of three models, whose clock the test moves."""

    def __init__(self, most: int = 1, entries: Sequence[Entry] = (A, B, C), **how: Any) -> None:
        self.now, self.told = 0.0, list[str]()
        self.failing: dict[Entry, list[Exception]] = {}
        self.gate = threading.Event()  # loading waits for it
        self.gate.set()
        self.pool = Pool(Catalog(lambda: entries), self.load, Room(max_models=most), clock=lambda: self.now, **how)

    def load(self, entry: Entry, sizes: Sizes) -> Engine:
        self.told.append(f"+{entry.name}")
        assert self.gate.wait(10)
        if self.failing.get(entry):
            raise self.failing[entry].pop()
        engine = Fake(entry)
        close = engine.close
        engine.close = lambda: (self.told.append(f"-{entry.name}"), close())[1]  # type: ignore[method-assign]
        return cast(Engine, engine)

    async def have(self, entry: Entry, **how: Any) -> Lease:
        return await asyncio.wait_for(self.pool.ask(entry, **how).ready(), 10)

    async def rest(self) -> None:
        """Until nothing is loaded or unloaded."""
        await until(lambda: not self.pool.is_moving)

    async def leaving(self, entry: Entry) -> None:
        """Until somebody waits for its room."""
        await until(lambda: self.pool.leaving is not None and self.pool.leaving.entry == entry)

    @property
    def here(self) -> str:
        return "".join(sorted(entry.name for entry in self.pool.residents))


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 20))


async def until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.001)


def test_one_that_is_here_passes_at_once_and_stays() -> None:
    async def work() -> None:
        case = Case()
        first = await case.have(A)
        second = case.pool.ask(A)
        assert not second.waits and second.engine is first.engine
        first.release(), second.release(), second.release()
        await case.rest()
        assert (case.here, case.told, case.pool.residents[A].leases) == ("a", ["+a"], 0)

    run(work())


def test_the_one_used_least_recently_goes_and_a_busy_one_stays() -> None:
    async def work() -> None:
        case = Case(most=2)
        for entry in (A, B, A):
            (await case.have(entry)).release()
            case.now += 1
        (await case.have(C)).release()
        assert case.here == "ac"
        busy = await case.have(A)  # used before C was
        case.now += 1
        (await case.have(C)).release()
        case.now += 1
        (await case.have(B)).release()
        assert case.here == "ab" and busy.engine is not None
        assert case.told == ["+a", "+b", "-b", "+c", "-c", "+b"]

    run(work())


def test_who_wants_another_model_waits_for_a_busy_one_and_newcomers_to_that_wait_behind() -> None:
    async def work() -> None:
        case = Case()
        busy = await case.have(A)
        other = case.pool.ask(B)
        await case.leaving(A)
        late = case.pool.ask(A)  # A is here, but its room is promised
        assert other.waits and late.waits and case.told == ["+a"]
        busy.release()
        await asyncio.wait_for(other.ready(), 10)
        assert late.waits and case.told == ["+a", "-a", "+b"]
        other.release()
        await asyncio.wait_for(late.ready(), 10)
        assert case.told == ["+a", "-a", "+b", "-b", "+a"]
        assert late.waited > 0

    run(work())


def test_one_that_comes_serves_all_who_wait_for_it_by_then() -> None:
    async def work() -> None:
        case = Case()
        busy = await case.have(A)
        line = [case.pool.ask(B)]
        await case.leaving(A)
        line += [case.pool.ask(entry) for entry in (A, B, A, B)]
        busy.release()
        await asyncio.wait_for(asyncio.gather(*(line[at].ready() for at in (0, 2, 4))), 10)
        assert line[1].waits and line[3].waits
        for at in (0, 2, 4):
            line[at].release()
        await asyncio.wait_for(asyncio.gather(line[1].ready(), line[3].ready()), 10)
        assert case.told == ["+a", "-a", "+b", "-b", "+a"]

    run(work())


def test_other_models_go_on_while_one_is_waited_for() -> None:
    async def work() -> None:
        case = Case(most=2)
        leases = [await case.have(A), await case.have(B)]
        waiting = case.pool.ask(C)  # for A, which was asked for first
        await case.leaving(A)
        assert not case.pool.ask(B).waits and case.pool.ask(A).waits
        leases[0].release()
        await asyncio.wait_for(waiting.ready(), 10)
        assert case.here == "bc"

    run(work())


def test_who_leaves_the_line_is_not_waited_for() -> None:
    async def work() -> None:
        case = Case()
        busy = await case.have(A)
        gone = case.pool.ask(B)
        await case.leaving(A)
        behind = case.pool.ask(A)
        assert behind.waits
        gone.release()
        await asyncio.wait_for(behind.ready(), 10)  # nobody wants A's room any more
        assert behind.engine is busy.engine and case.told == ["+a"] and not case.pool.waiting

    run(work())


def test_who_leaves_while_it_is_loaded_leaves_it_loaded() -> None:
    async def work() -> None:
        case = Case()
        case.gate.clear()
        gone = case.pool.ask(A)
        await until(lambda: case.told == ["+a"])
        assert case.pool.status(A) == "loading" and case.pool.status(B) == "unloaded"
        gone.release()
        case.gate.set()
        await case.rest()
        assert case.here == "a" and case.pool.residents[A].leases == 0

    run(work())


def test_a_model_goes_when_its_time_is_over() -> None:
    async def work() -> None:
        case = Case(most=3, keep_alive=300.0)
        (await case.have(A)).release()
        (await case.have(B, keep_alive=10.0)).release()
        forever = await case.have(C, keep_alive=float("inf"))
        forever.release()
        case.now = 9.0
        case.pool.tick()
        await case.rest()
        assert case.here == "abc"
        case.now = 10.0
        case.pool.tick()
        await case.rest()
        assert case.here == "ac"
        case.now = 299.0
        busy = await case.have(A)
        case.now = 1e6
        case.pool.tick()
        await case.rest()
        assert case.here == "ac"  # it is used
        busy.release()
        case.now += 299
        case.pool.tick()
        await case.rest()
        assert case.here == "ac"
        case.now += 1
        case.pool.tick()
        await case.rest()
        assert case.here == "c"
        assert case.pool.counts.unloads == {("a", "idle"): 1, ("b", "idle"): 1}

    run(work())


def test_no_time_at_all_is_as_long_as_the_request() -> None:
    async def work() -> None:
        case = Case(keep_alive=0.0)
        lease = await case.have(A)
        case.pool.tick()
        await case.rest()
        assert case.here == "a"
        lease.release()
        await case.rest()
        assert case.here == ""

    run(work())


def test_one_that_cannot_be_loaded_is_the_trouble_of_those_who_asked_for_it() -> None:
    async def work() -> None:
        case = Case()
        busy = await case.have(A)
        case.failing[B] = [CheckpointError("/models/b.gguf: it is damaged")]
        asked = [case.pool.ask(B), case.pool.ask(B), case.pool.ask(C)]
        busy.release()
        for lease in asked[:2]:
            with pytest.raises(ApiError, match=r"the model .b. cannot be loaded: b: it is damaged") as told:
                await asyncio.wait_for(lease.ready(), 10)
            assert (told.value.status, told.value.code) == (503, "load_failed")
        await asyncio.wait_for(asked[2].ready(), 10)
        asked[2].release()
        await case.have(B)  # the next one tries again
        assert case.pool.counts.failed == {"b": 1}

    run(work())


def test_where_memory_does_not_suffice_others_make_room_once() -> None:
    async def work() -> None:
        case = Case(most=3)
        (await case.have(A)).release()
        case.now += 1
        (await case.have(B)).release()
        case.failing[C] = [NoRoom("too little")]
        (await case.have(C)).release()
        assert case.told == ["+a", "+b", "+c", "-a", "-b", "+c"] and case.here == "c"
        case.failing[B] = [MemoryError(), MemoryError()]
        with pytest.raises(ApiError) as told:
            await case.have(B)
        assert told.value.code == "out_of_memory" and case.here == ""

    run(work())


def test_unloading_by_hand_waits_for_those_who_have_it() -> None:
    async def work() -> None:
        case = Case()
        lease = await case.have(A)
        order = asyncio.ensure_future(case.pool.unload(A))
        await asyncio.sleep(0)  # it stands in the line
        behind = case.pool.ask(A)
        assert not order.done() and behind.waits and lease.engine is not None
        lease.release()
        await asyncio.wait_for(order, 10)
        await asyncio.wait_for(behind.ready(), 10)
        assert case.told == ["+a", "-a", "+a"]
        behind.release()
        await case.pool.unload(A)
        await case.pool.unload(A)  # nor is one that is not here
        assert case.here == "" and case.pool.counts.unloads == {("a", "asked"): 2}

    run(work())


def test_unloading_what_is_waited_for() -> None:
    async def work() -> None:
        case = Case()
        busy = await case.have(A)
        waiting = case.pool.ask(B)
        order = asyncio.ensure_future(case.pool.unload(B))  # stands behind who waits for it
        await case.leaving(A)
        busy.release()
        await asyncio.wait_for(waiting.ready(), 10)
        assert not order.done()
        waiting.release()
        await asyncio.wait_for(order, 10)
        assert case.told == ["+a", "-a", "+b", "-b"]

    run(work())


def test_an_order_to_unload_that_nobody_waits_for_is_none() -> None:
    async def work() -> None:
        case = Case()
        lease = await case.have(A)
        order = asyncio.ensure_future(case.pool.unload(A))
        await asyncio.sleep(0)  # it stands in the line
        order.cancel()
        await asyncio.wait({order})
        await case.rest()
        assert not case.pool.ask(A).waits and not lease.waits and case.told == ["+a"]

    run(work())


def test_the_line_is_no_longer_than_allowed() -> None:
    async def work() -> None:
        case = Case(queue=2)
        await case.have(A)
        line = [case.pool.ask(B), case.pool.ask(B)]
        with pytest.raises(QueueFull):
            case.pool.ask(C)
        assert len(case.pool.waiting) == 2
        line[0].release()
        case.pool.ask(C)

    run(work())


def test_what_is_pinned_is_loaded_first_and_stays() -> None:
    async def work() -> None:
        pinned = Entry(("p",), Path("/models/p.gguf"), pinned=True)
        case = Case(entries=[pinned], keep_alive=1.0)
        assert not case.pool.is_ready
        await case.pool.start()
        assert case.pool.is_ready and case.pool.latest == pinned
        case.now = 1e9
        case.pool.tick()
        await case.rest()
        assert case.here == "p"
        with pytest.raises(ApiError, match="stays"):
            await case.pool.unload(pinned)

    run(work())


def test_what_is_pinned_and_cannot_be_loaded_says_why() -> None:
    async def work() -> None:
        pinned = Entry(("p",), Path("/models/p.gguf"), pinned=True)
        case = Case(entries=[pinned])
        case.failing[pinned] = [CheckpointError("it is damaged")]
        with pytest.raises(CheckpointError, match=r"^it is damaged$"):
            await case.pool.start()

    run(work())


def test_the_end_closes_all_and_tells_who_waits() -> None:
    async def work() -> None:
        case = Case(most=2)
        await case.have(A)
        await case.have(B)
        waiting = case.pool.ask(C)
        await case.leaving(A)
        await case.pool.close()
        with pytest.raises(EngineClosed):
            await waiting.ready()
        with pytest.raises(EngineClosed):
            case.pool.ask(A)
        assert sorted(case.told) == ["+a", "+b", "-a", "-b"]
        await case.rest()

    run(work())


def test_while_all_are_busy_the_first_that_is_free_makes_room() -> None:
    async def work() -> None:
        case = Case(most=2)
        long = await case.have(A)
        case.now += 1
        short = await case.have(B)
        waiting = case.pool.ask(C)
        await case.leaving(A)  # which was asked for first
        short.release()
        await asyncio.wait_for(waiting.ready(), 10)
        assert case.here == "ac" and long.engine is not None
        assert not case.pool.ask(A).waits  # it stays after all

    run(work())


def test_an_order_to_unload_a_busy_one_holds_up_nobody_else() -> None:
    async def work() -> None:
        case = Case(most=2)
        busy = await case.have(A)
        order = asyncio.ensure_future(case.pool.unload(A))
        await asyncio.sleep(0)
        behind = case.pool.ask(A)
        (await case.have(B)).release()
        (await case.have(C)).release()
        assert case.told == ["+a", "+b", "-b", "+c"] and not order.done() and behind.waits
        busy.release()
        await asyncio.wait_for(order, 10)
        await asyncio.wait_for(behind.ready(), 10)
        assert case.told == ["+a", "+b", "-b", "+c", "-a", "+a"]

    run(work())


def test_unloading_what_is_being_loaded() -> None:
    async def work() -> None:
        case = Case()
        case.gate.clear()
        gone = case.pool.ask(A)
        await until(lambda: case.told == ["+a"])
        order = asyncio.ensure_future(case.pool.unload(A))
        gone.release()
        await asyncio.sleep(0.01)
        assert not order.done()
        case.gate.set()
        await asyncio.wait_for(order, 10)
        assert case.told == ["+a", "-a"] and case.here == ""

    run(work())


def test_nobody_starves_among_three_models_of_which_one_is_here() -> None:
    """Twelve clients that ask again at once: each waits for at most one turn of every other model."""

    async def work() -> None:
        case = Case()
        served: dict[int, list[int]] = {at: [] for at in range(12)}

        async def client(at: int) -> None:
            for _ in range(6):
                begin = len(case.told)
                lease = await case.have((A, B, C)[at % 3])
                served[at].append(sum(word[0] == "+" for word in case.told[begin:]))
                await asyncio.sleep(0.001)
                lease.release()

        await asyncio.gather(*map(client, range(12)))
        assert max(loads for each in served.values() for loads in each) <= 3

    run(work())


def test_what_is_loaded_when_the_end_comes_is_closed() -> None:
    async def work() -> None:
        case = Case()
        case.gate.clear()
        waiting = case.pool.ask(A)
        await until(lambda: case.told == ["+a"])
        await case.pool.close()
        with pytest.raises(EngineClosed):
            await waiting.ready()
        with pytest.raises(EngineClosed):
            await case.pool.unload(A)
        case.gate.set()
        await case.rest()
        assert case.told == ["+a", "-a"] and case.here == ""

    run(work())
