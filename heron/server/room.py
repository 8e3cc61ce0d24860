"""How much room there is for models, what each of them takes, and how large its cache is to be in what there is."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace

from heron.backends import torch
from heron.backends.base import Memory, Options
from heron.backends.choose import Where, device_of
from heron.backends.fit import fit
from heron.backends.reference.state import state_groups
from heron.checkpoint.checkpoint import Checkpoint, locate
from heron.engine.budget import Budget
from heron.engine.forecast import Forecast, forecast
from heron.engine.memory import available_bytes, resident_bytes
from heron.engine.model import CONTEXT_SHARE
from heron.errors import DeviceFull, NoRoom
from heron.graph.graph import Model
from heron.models.registry import build_model, load_families
from heron.server.catalog import Entry
from heron.server.resident import Resident

#: What making room may help against.
FULL = (NoRoom, DeviceFull, MemoryError)

#: Tokens of the cache, of all requests together, without which a model is not loaded beside others.
ENOUGH = 16384

#: The shortest context that a model's own is reduced to.
SHORTEST = 512


@dataclass(frozen=True)
class Sizes:
    """What an engine is told; 0 leaves it to the engine."""

    ctx_size: int = 0
    kv_cache_size: int = 0


@dataclass(frozen=True)
class Need:
    """What a model takes of the machine's memory, by the size of its cache. ``asked`` is what the user wants of that."""

    told: Forecast
    asked: Sizes
    max_seqs: int

    @property
    def context(self) -> int:
        return self.asked.ctx_size or self.told.model.context_length

    def bytes(self, tokens: int, context: int) -> int:
        """With a cache of so many tokens of all requests together."""
        groups = state_groups(self.told.model, self.told.options.kv_dtype)
        budget = Budget((Memory(groups),), groups, context, self.max_seqs, step_tokens=256)
        return sum(self.told.weights.values()) + self.told.buffers + budget.bytes(tokens)

    @property
    def least(self) -> int:
        """Bytes with which it is of use beside others."""
        tokens = self.asked.kv_cache_size or min(self.max_seqs * self.context, max(ENOUGH, self.asked.ctx_size))
        return self.bytes(tokens, min(self.context, tokens))

    @property
    def smallest(self) -> int:
        """Bytes with the shortest context that it is reduced to, or with what is asked for."""
        context = self.asked.ctx_size or min(self.context, SHORTEST)
        tokens = self.asked.kv_cache_size or context
        return self.bytes(tokens, min(context, tokens))

    def sizes(self, free: int) -> Sizes:
        """For so many free bytes, of which the cache takes a share, as an engine's does that is alone."""
        context, weights = self.context, self.bytes(0, self.context)
        tokens = self.asked.kv_cache_size or self.max_seqs * context
        share = max(self.smallest, weights + int(CONTEXT_SHARE * (free - weights)))
        most = max(self.least, share) if self.least <= free else share
        while not self.asked.kv_cache_size and tokens > context and self.bytes(tokens, context) > most:
            tokens = max(context, tokens // 2)
        while not self.asked.ctx_size and context > SHORTEST and self.bytes(min(tokens, context), context) > most:
            context //= 2
            tokens = self.asked.kv_cache_size or context
        return Sizes(self.asked.ctx_size or (context if context < self.context else 0), tokens)


@dataclass
class Room:
    """At most so many models, in at most so many bytes of the machine's memory; 0: any number, what there is.

    ``where`` and ``options`` say how models are loaded, of whose memory something is foretold then; None: nothing is.
    """

    max_models: int = 0
    max_memory: int = 0
    max_seqs: int = 1
    asked: Sizes = Sizes()
    where: Where = field(default_factory=Where)
    options: Options | None = None

    def __str__(self) -> str:
        """For people."""
        models = f"at most {self.max_models} at once" if self.max_models else "as many at once as fit"
        return models + (f" in {self.max_memory / 2**30:g} GiB" if self.max_memory else "")

    def __post_init__(self) -> None:
        self._before = resident_bytes()

    def foretell(self, entry: Entry) -> Need | None:
        """What it will take; None where nobody knows, or it matters to nobody: of the one model of a server. For a thread.

        Raises what opening it raises, and NoRoom for one that could not be here if those that are here went.
        """
        if self.options is None:
            return None
        if locate(entry.path).is_dir():
            load_families()
        with Checkpoint(entry.path) as checkpoint:
            need = self._need(build_model(checkpoint), self.options)
        if self._device == "cpu" and need.smallest > (most := self._most()):
            allowed = "--max-memory allows" if most == self.max_memory else "there would be"
            less = "--ctx-size" if self.asked != Sizes() else "quantization"
            takes = f"it takes {need.smallest / 2**30:.2f} GiB with its cache, and {allowed} {most / 2**30:.2f}"
            raise NoRoom(f"{takes}; a smaller {less} takes less, and with --no-repack its weights stay in the file")
        return None if entry.pinned and not self.max_memory else need

    def context(self, model: Model) -> int:
        """Tokens that a request may have if the model were here alone now. For a thread."""
        if self.options is None:
            return self.asked.ctx_size or model.context_length
        need = self._need(model, self.options)
        sizes = need.sizes(self._most()) if self._device == "cpu" else need.asked
        context = sizes.ctx_size or need.context
        return min(context, sizes.kv_cache_size or context)

    def _need(self, model: Model, options: Options) -> Need:
        """Of several models some have a shorter context than what is asked for."""
        asked = replace(self.asked, ctx_size=min(self.asked.ctx_size, model.context_length))
        return Need(forecast(model, options, self.max_seqs), asked, self.max_seqs)

    def has(self, need: Need | None, residents: Collection[Resident]) -> bool:
        """Whether one that needs so much fits beside those that are here. For a thread."""
        if self.max_models and len(residents) >= self.max_models:
            return False
        if need is None or self._on_gpu(need):
            return True
        others = sum(one.bytes for one in residents if one.on_gpu)
        crowded = others > 0 and self._on_gpu(need, others)  # it goes there once they have gone
        return not crowded and need.least <= self.free(residents)

    def sizes(self, need: Need | None, residents: Collection[Resident]) -> Sizes:
        """For the next one. For a thread."""
        if need is None:
            return self.asked
        return need.asked if self._on_gpu(need) else need.sizes(self.free(residents))

    def free(self, residents: Collection[Resident]) -> int:
        """Bytes for the next one: what is free, less what was promised to those that are here and not touched by them yet."""
        if not residents:
            self._before = resident_bytes()
        held = _held(residents)
        found = available_bytes() - max(0, held - self._touched)
        return min(found, self.max_memory - held) if self.max_memory else found

    def _most(self) -> int:
        """Bytes for the next one, if those that are here went."""
        found = available_bytes() + self._touched
        return min(found, self.max_memory) if self.max_memory else found

    @property
    def _touched(self) -> int:
        """What those that are here hold by now: what the program has more than it had without any."""
        return max(0, resident_bytes() - self._before)

    @property
    def _device(self) -> str:
        """Where models are put that fit there; "cpu" without a GPU. Raises BackendError for one that is not here."""
        return device_of(self.where)

    def _on_gpu(self, need: Need, more: int = 0) -> bool:
        """Whether it goes to a GPU, and fits there now with all its layers, or if so many more bytes were free."""
        device, options = self._device, need.told.options
        room = torch.room(device, options) if device != "cpu" and not self.where.gpu_layers else None
        if room is None:
            return False
        found = fit(need.told.model, room.free + more, options, room.itemsize)
        return found.layers > found.of


def _held(residents: Collection[Resident]) -> int:
    return sum(one.bytes for one in residents if not one.on_gpu)
