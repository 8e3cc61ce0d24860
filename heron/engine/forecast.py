"""What running a model will take, and how fast it can be, before it is loaded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from heron.backends.base import Executable, Memory, Options
from heron.backends.choose import Where, device_of
from heron.backends.fit import fit
from heron.backends.reference.state import state_groups
from heron.compiled import core
from heron.engine.budget import Budget
from heron.engine.cache import units_for
from heron.engine.memory import available_bytes, resident_bytes, swap_bytes
from heron.engine.model import PREFILL_CHUNK
from heron.errors import NoRoom
from heron.graph.graph import Model, Weight
from heron.graph.passes.weigh import Held, by_part, read_per_token

logger = logging.getLogger("heron.engine")

#: The part of the memory's speed that decoding one sequence reaches, and of the vectors' int8 rate that prompts do (benchmarks/README.md):
#: with AMX too, whose own rate is far above it, since the sums' way out of the tiles is the bound.
DECODE_SHARE, PREFILL_SHARE = 0.8, 0.5


@dataclass(frozen=True)
class Forecast:
    """``weights`` in bytes, by part; ``buffers`` of the largest step; ``read`` bytes of weights for a decoded token, each of whose
    ``parameters`` is multiplied once."""

    model: Model
    options: Options
    weights: Mapping[str, int]
    buffers: int
    read: int
    parameters: int

    def cache(self, context: int, sequences: int = 1, step_tokens: int = PREFILL_CHUNK) -> int:
        """Bytes of the states of whole contexts: one as ``heron run`` keeps it, more as an engine does."""
        groups = state_groups(self.model, self.options.kv_dtype)
        if sequences == 1:
            return sum(units_for(group, context, step_tokens) * group.unit_bytes for group in groups)
        return Budget((Memory(groups),), groups, context, sequences, step_tokens).bytes(context * sequences)

    def total(self, context: int, sequences: int = 1) -> int:
        return sum(self.weights.values()) + self.buffers + self.cache(context, sequences)

    def fits(self, free: int, sequences: int = 1) -> int:
        """The longest context, up to the model's own, of which so many fit into ``free`` bytes; 0 where none does."""
        longest, step = 0, self.model.context_length
        while step:
            if longest + step <= self.model.context_length and self.total(longest + step, sequences) <= free:
                longest += step
            step //= 2
        return longest

    def decode_speed(self, bandwidth: float, context: int = 0) -> float:
        """Tokens/s of one sequence at most, where ``bandwidth`` bytes/s can be read: all weights and the cache for each token."""
        return bandwidth / (self.read + (self.cache(context) if context else 0))

    def prefill_speed(self, rate: float) -> float:
        """Tokens/s of a prompt if it took so many multiply-adds a second."""
        return rate / self.parameters


@dataclass(frozen=True)
class OnGpu:
    """Of a GPU: its free bytes, and how many of the model's layers fit there (``layers > of``: all, and the output head)."""

    device: str
    free: int
    layers: int
    of: int
    need: int


def on_gpus(model: Model, options: Options) -> list[OnGpu]:
    """What fits on the GPU that a model would be put on here, if there is one; torch is asked only where a driver is."""
    from heron.backends import torch

    device = torch.first_gpu() if torch.sees_gpu() else None
    room = None if device is None else torch.room(device, options)
    if device is None or room is None:
        return []
    found = fit(model, room.free, options, room.itemsize)
    return [OnGpu(device, room.free, found.layers, found.of, found.need)]


#: Backends whose memory is foretold.
BACKENDS = ("native", "reference")


def forecast(model: Model, options: Options, sequences: int = 1, backend: str | None = None) -> Forecast:
    """For a backend of ``BACKENDS``: by default the native one, or where its core is not compiled the reference, which decodes to f32."""
    held, taken = _held(options, backend), 0
    if held is not _decoded:
        from heron.backends.native import forecast as native

        taken = native.buffers(model, options, max(PREFILL_CHUNK, sequences), sequences, sequences)
    generates = "forward" in model.entries
    read = read_per_token(model, lambda weight, matrix: held(weight, matrix) or weight.tensor.nbytes) if generates else 0
    multiplied = read_per_token(model, lambda weight, matrix: weight.tensor.size) if generates else 0
    return Forecast(model, options, by_part(model, held), taken, read, multiplied)


def must_fit(model: Model, where: Where, options: Options) -> None:
    """Before weights are loaded for the CPU. Raises NoRoom for more than the machine has memory for, swapping included: the system would
    end the program. Of a GPU's memory whoever puts a model there asks (heron/backends/choose.py).
    """
    if where.backend not in ("auto", *BACKENDS) or where.gpu_layers or device_of(where) != "cpu":
        return
    held = _held(options, None if where.backend == "auto" else where.backend)
    need, have = sum(by_part(model, held).values()), available_bytes() + swap_bytes()
    if need > have:
        less = ", and with --no-repack they stay in the file" if options.repack and held is not _decoded else ""
        raise NoRoom(
            f"the weights take {need / 2**30:.1f} GiB and {have / 2**30:.1f} are free; a smaller quantization takes less{less} "
            "(heron plan tells what fits here)"
        )


def log_memory(executable: Executable, backend: str, model: Model, options: Options, units: Mapping[str, int], sequences: int) -> None:
    """Say at the level INFO what was foretold of a loaded model's memory, and what it is."""
    if backend not in BACKENDS or not logger.isEnabledFor(logging.INFO):
        return
    told, held = forecast(model, options, sequences, backend), executable.memory()
    cache = sum(units[group.name] * group.unit_bytes for group in executable.state_groups)
    fields = {"weights_planned": sum(told.weights.values()), "weights": held["weights"], "cache_planned": cache, "cache": held["state"]}
    logger.info("memory in bytes", extra={"fields": fields | {"buffers_planned": told.buffers, "resident": resident_bytes()}})


def _held(options: Options, backend: str | None) -> Held:
    """What a backend of ``BACKENDS`` keeps of a weight; None is the native one where its core is compiled."""
    if backend == "reference" or (backend is None and core is None):
        return _decoded
    from heron.backends.native import forecast as native

    return native.held(options)


def _decoded(weight: Weight, matrix: bool) -> int:
    return 4 * weight.tensor.size
