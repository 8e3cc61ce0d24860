"""How much room there is for models, by what is foretold of them, on a CPU and on GPUs, which are fakes."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import pytest

from heron import pocket
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.choose import Where
from heron.backends.fit import SHARE, fit
from heron.errors import BackendError, NoRoom
from heron.server import room as rooms
from heron.server.catalog import Entry
from heron.server.resident import Resident
from heron.server.room import Need, Room, Sizes

MODEL = Entry(("m",), pocket.path())
SEQUENCES = 4


def room(**how: Any) -> Room:
    return Room(max_seqs=SEQUENCES, options=Options(threads=1), **how)


def foretold(**how: Any) -> Need:
    need = room(**how).foretell(MODEL)
    assert need is not None
    return need


def resident(size: int, on_gpu: bool = False) -> Resident:
    return cast(Resident, SimpleNamespace(bytes=size, on_gpu=on_gpu))


def test_a_cache_is_as_large_as_its_room_allows() -> None:
    need = foretold()
    context = need.context
    assert need.sizes(1 << 40) == Sizes(0, SEQUENCES * context)
    assert need.least == need.bytes(SEQUENCES * context, context)  # of this model 16384 tokens are more than four contexts
    weights = need.bytes(0, context)
    one = need.bytes(context, context) - weights
    assert need.sizes(weights + 2 * one) == Sizes(0, context)
    assert need.sizes(weights + one) == need.sizes(need.smallest) == Sizes(512, 512)
    for free in range(need.smallest, need.least * 2, 1 << 20):
        sizes = need.sizes(free)
        assert need.bytes(sizes.kv_cache_size, sizes.ctx_size or context) <= free
    asked = foretold(asked=Sizes(100, 300))
    assert asked.sizes(1 << 40) == Sizes(100, 300) and asked.smallest == asked.least < need.least


def test_a_context_is_no_longer_than_the_models_own() -> None:
    """What is asked for is for all models, and an encoder has no more than it has."""
    assert foretold(asked=Sizes(ctx_size=4096)).asked == Sizes(ctx_size=1024)
    assert foretold(asked=Sizes(ctx_size=256)).context == 256


class Machine:
    """What is there: so much memory, of which the program has some; and GPUs with so much free memory each."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.free, self.program, self.gpus = 1 << 40, 1 << 20, dict[str, int]()
        patch.setattr(rooms, "available_bytes", lambda: self.free)
        patch.setattr(rooms, "resident_bytes", lambda: self.program)
        patch.setattr(on_torch, "sees_gpu", lambda: bool(self.gpus))
        patch.setattr(on_torch, "first_gpu", lambda: next(iter(self.gpus), None))
        patch.setattr(on_torch, "available", lambda: True)
        patch.setattr(on_torch, "room", self._room)

    def _room(self, device: str, options: Options) -> on_torch.Room:
        if device not in self.gpus:
            raise BackendError(f"there is no {device} here")
        return on_torch.Room(self.gpus[device], 2)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def test_what_was_promised_and_not_touched_yet_is_not_free(machine: Machine) -> None:
    space = room()
    assert space.free([]) == 1 << 40
    machine.program += 300
    assert space.free([resident(1000)]) == (1 << 40) - 700
    machine.program += 2000
    assert space.free([resident(1000)]) == 1 << 40
    assert room(max_memory=5000).free([resident(1000), resident(9000, on_gpu=True)]) == 4000


def test_what_could_not_be_here_alone_is_refused(machine: Machine) -> None:
    need = foretold()
    space = room()
    machine.free = need.smallest
    assert space.foretell(MODEL) is not None
    machine.free -= 1
    with pytest.raises(NoRoom, match=r"it takes 0.01 GiB with its cache, and there would be 0.01; a smaller quantization .* --no-repack"):
        space.foretell(MODEL)
    space.free([])
    machine.program += 1  # a model that is here, which would go
    assert space.foretell(MODEL) is not None
    machine.free = 1 << 40
    with pytest.raises(NoRoom, match=r"--max-memory allows 0\.00"):
        room(max_memory=1 << 20).foretell(MODEL)
    with pytest.raises(NoRoom, match="a smaller --ctx-size takes less"):
        room(max_memory=1 << 20, asked=Sizes(ctx_size=100)).foretell(MODEL)


def test_the_one_model_of_a_server_is_as_large_as_its_engine_makes_it(machine: Machine) -> None:
    """But refused where it could not be here: the system would end the server in the midst of loading it."""
    only = replace(MODEL, pinned=True)
    space = room(asked=Sizes(2048))  # more than its own
    assert space.foretell(only) is None and space.sizes(None, ()) == Sizes(2048)
    assert room(max_memory=1 << 40).foretell(only) is not None
    machine.free = 1 << 20
    with pytest.raises(NoRoom, match=r"there would be 0\.00"):
        space.foretell(only)


def test_what_a_context_will_be(machine: Machine) -> None:
    need = foretold()
    model, own = need.told.model, need.told.model.context_length
    assert Room().context(model) == room().context(model) == own
    assert Room(asked=Sizes(256)).context(model) == room(asked=Sizes(256)).context(model) == room(asked=Sizes(0, 256)).context(model) == 256
    for free in (need.least, need.smallest, 0):
        machine.free = free
        sizes = need.sizes(max(free, need.smallest))
        assert room().context(model) == (sizes.ctx_size or own)
    assert sizes.ctx_size == 512
    machine.gpus = {"cuda": 1 << 40}
    assert room().context(model) == own


def test_room_beside_others(machine: Machine) -> None:
    need, space = foretold(), room()
    space.free([])
    machine.free = need.least
    assert space.has(need, []) and not space.has(need, [resident(1)])
    assert room(max_models=1).has(need, []) and not room(max_models=1).has(need, [resident(1)])
    assert not room(max_models=1).has(None, [resident(1)]) and Room().has(None, [resident(1 << 50)])


@pytest.mark.parametrize(
    ("where", "device"),
    [
        ({}, "cuda"),
        ({"gpu": True}, "cuda"),
        ({"backend": "torch"}, "cuda"),
        ({"cuda_device_id": 1}, "cuda:1"),
        ({"device": "cuda:1"}, "cuda:1"),
    ],
)
def test_on_a_gpu_it_is_the_gpus_memory_that_counts(machine: Machine, where: dict[str, Any], device: str) -> None:
    """Of the GPU that models are put on. What is there stands beside others as long as the next one fits."""
    need, space = foretold(), room(where=Where(**where))
    fits = int(fit(need.told.model, 0, need.told.options, 2).need / SHARE) + 2
    machine.gpus = {"cuda": 0, "cuda:1": 0, device: fits}
    machine.free = 0
    other = resident(1 << 30, on_gpu=True)
    assert space.foretell(MODEL) is not None  # which the machine's own memory could not hold
    assert space.has(need, [other]) and space.sizes(need, [other]) == Sizes()
    machine.gpus[device] = fits - 4
    assert not space.has(need, [other])  # that one has to go
    assert not space.has(need, [])
    machine.free = 1 << 40
    assert not space.has(need, [other]) and space.has(need, [])  # and if it does not fit then, the machine's own is what there is
    machine.gpus[device] = 0
    assert space.has(need, [resident(fits // 2, on_gpu=True)])  # as when it would not fit there though that one went


def test_a_gpu_that_is_not_wanted_is_not_asked(machine: Machine) -> None:
    need = foretold()
    machine.gpus = {"cuda": 1 << 40}
    machine.free = 0
    for where in ({"gpu": False}, {"device": "cpu"}, {"backend": "native"}, {"gpu_layers": 0}):
        assert not room(where=Where(**where)).has(need, [])
        with pytest.raises(NoRoom):
            room(where=Where(**where)).foretell(MODEL)


def test_a_gpu_that_is_asked_for_and_not_here(machine: Machine) -> None:
    for where in ({"gpu": True}, {"device": "cuda:7"}):
        space = room(where=Where(**where))
        with pytest.raises(BackendError):
            space.has(foretold(), ())
