"""The protocol of a backend: ``prepare(model, placement, options) -> Executable``; run batches, move state, close.

A backend is a table, op name -> kernel. It owns bytes; the engine owns ids: blocks, slots and adapters are
numbers that the engine hands out, and unit 0 of every group is null.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from heron.backends.batch import Batch
from heron.backends.sampling import Sampling
from heron.errors import UnsupportedError

if TYPE_CHECKING:
    from heron.graph.graph import Model

Array = NDArray[np.float32]

KV_DTYPES = ("f16", "f32", "q8_0")
DTYPES = ("auto", "f32", "f16", "bf16")


class Communicator(Protocol):
    """What collectives need: the same call on every rank, in the same order."""

    def all_reduce(self, x: Array) -> Array: ...
    def all_gather(self, x: Array, axis: int) -> Array: ...


@dataclass(frozen=True)
class Placement:
    """Where an executable runs: ``rank`` of ``ranks`` that share a model, and how they talk."""

    device: str = "cpu"
    rank: int = 0
    ranks: int = 1
    communicator: Communicator | None = None


@dataclass(frozen=True)
class Options:
    """How a model is made ready. ``activations`` is ``int8`` (per block, in quantized products) or ``f32``.

    ``dtype`` is what the torch backend computes in: ``f32``, ``f16``, ``bf16``, or ``auto``, what suits the device.

    ``repack`` rewrites matrices for the machine at load; without it a backend that can multiplies from the mapped file, in less
    memory and slower. ``mlock`` keeps them in memory. ``fuse`` lets fused ops run as such; the environment's ``HERON_FUSE=0``
    runs what they mean instead. ``cuda_graphs`` lets the torch backend record decode steps and replay them.
    """

    kv_dtype: str = "f16"
    activations: str = "int8"
    dtype: str = "auto"
    threads: int | None = None
    repack: bool = True
    mlock: bool = False
    cuda_graphs: bool = True
    fuse: bool = field(default_factory=lambda: os.environ.get("HERON_FUSE", "1") != "0")

    def __post_init__(self) -> None:
        if self.kv_dtype not in KV_DTYPES:
            raise UnsupportedError(f"kv_dtype {self.kv_dtype!r} is not one of {', '.join(KV_DTYPES)}")
        if self.activations not in ("int8", "f32"):
            raise UnsupportedError(f"activations {self.activations!r} is not one of int8, f32")
        if self.dtype not in DTYPES:
            raise UnsupportedError(f"dtype {self.dtype!r} is not one of {', '.join(DTYPES)}")


@dataclass(frozen=True)
class StateGroup:
    """What the engine must know to hand out units of a group: ``unit_bytes`` for one block (or slot) of all its states."""

    name: str
    kind: str
    unit_bytes: int
    block_size: int
    window: int


@dataclass(frozen=True)
class Memory:
    """One of the memories that states are allocated in: its share of each group, and the bytes ``free``, None in the machine's own."""

    groups: tuple[StateGroup, ...]
    free: int | None = None


@dataclass(frozen=True)
class Result:
    """Outputs of a step by name; ``nonfinite[R]`` says which rows of the logits hold a NaN or an infinity.

    Where the step was to sample, ``tokens[R]`` are what was chosen (-1 where no token may come), and ``logprobs[R]`` their
    log-probabilities under the model's own distribution.
    """

    arrays: Mapping[str, Array]
    nonfinite: NDArray[np.bool_]
    tokens: NDArray[np.int32] = field(default_factory=lambda: np.zeros(0, np.int32))
    logprobs: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]


class Ticket(ABC):
    """A step under way."""

    @abstractmethod
    def result(self) -> Result:
        """Wait for the step. Raises what it raised."""


@dataclass(frozen=True)
class Done(Ticket):
    """The ticket of a step that ran when it was submitted."""

    value: Result

    def result(self) -> Result:
        return self.value


@dataclass(frozen=True)
class Adapter:
    """A low-rank adapter: target weight name -> (A [r, in], B [out, r]); ``scale`` is usually alpha / r."""

    pairs: Mapping[str, tuple[Array, Array]]
    scale: float = 1.0


class Executable(ABC):
    """A model made ready on a backend. Not thread-safe: one thread steps it."""

    @property
    def threads(self) -> int:
        """CPU threads that compute a step."""
        return 1

    @property
    def batch_dependent(self) -> tuple[str, ...]:
        """Ops whose numbers depend, in their last bits, on what else is in a step."""
        return ()

    @property
    def samples(self) -> bool:
        """Whether ``submit`` returns while the step is computed, chooses tokens itself, and takes steps that follow on tokens which an
        earlier one has yet to choose (``Batch.chained``)."""
        return False

    @property
    @abstractmethod
    def state_groups(self) -> tuple[StateGroup, ...]: ...

    @property
    def to_come(self) -> int:
        """Bytes of memory that work in the background has still to take."""
        return 0

    @property
    def memories(self) -> tuple[Memory, ...]:
        """Where states are allocated."""
        return (Memory(self.state_groups),)

    def wait(self, enough: bool = False) -> None:
        """Return when the model is as fast as it will be, if ``prepare`` left work to be done in the background; with ``enough``
        as soon as a step can be run. Raises what went wrong there."""
        return None

    @abstractmethod
    def allocate(self, units: Mapping[str, int]) -> None:
        """Make room for that many units (null unit included) of each group. What was stored before is lost."""

    @abstractmethod
    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        """Start a step of the entry (``forward``, ``encode``). ``want`` names outputs or marks (``hidden:2``).

        Steps take effect in the order in which they are submitted: one reads what those before it wrote, finished or not, and a unit
        may be handed on while a step that uses it is under way. ``sample``, where the executable ``samples``, has a token chosen after each
        wanted row.
        """

    def run(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",)) -> Result:
        return self.submit(entry, batch, want).result()

    @abstractmethod
    def copy(self, group: str, source: int, destination: int) -> None:
        """Copy one unit of every state of the group."""

    @abstractmethod
    def export(self, group: str, units: Iterable[int]) -> bytes:
        """The bytes of the units, for moving sequences between executables of one model and one ``kv_dtype``."""

    @abstractmethod
    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        """Put back what ``export`` gave."""

    @abstractmethod
    def load_adapter(self, id: int, adapter: Adapter) -> None: ...

    @abstractmethod
    def drop_adapter(self, id: int) -> None: ...

    @abstractmethod
    def memory(self) -> dict[str, int]:
        """Bytes held, by part: ``weights``, ``state``, ``buffers``."""

    @abstractmethod
    def close(self) -> None: ...


class Backend(Protocol):
    """A module or object that makes models ready."""

    name: str

    def prepare(self, model: Model, placement: Placement = Placement(), options: Options = Options()) -> Executable: ...


@dataclass
class LocalRanks:
    """Communicators of ranks that are threads of one process: for tests of the sharding pass and for small machines."""

    ranks: int
    _parts: dict[int, Array] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._barrier = threading.Barrier(self.ranks)

    def communicator(self, rank: int) -> Communicator:
        return _LocalRank(self, rank)

    def exchange(self, rank: int, x: Array) -> list[Array]:
        """Every rank's x, in the order of the ranks."""
        self._parts[rank] = x
        self._barrier.wait()
        parts = [self._parts[r] for r in range(self.ranks)]
        self._barrier.wait()
        return parts

    def abort(self) -> None:
        """Wake the ranks that wait for one that failed."""
        self._barrier.abort()


@dataclass(frozen=True)
class _LocalRank:
    group: LocalRanks
    rank: int

    def all_reduce(self, x: Array) -> Array:
        total: Array = np.sum(self.group.exchange(self.rank, x), axis=0, dtype=np.float32)
        return total

    def all_gather(self, x: Array, axis: int) -> Array:
        return np.concatenate(self.group.exchange(self.rank, x), axis=axis)
