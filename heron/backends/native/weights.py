"""A model's weights as the core holds them: matrices packed for products, everything else as f32."""

from __future__ import annotations

import mmap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from threading import Thread

import numpy as np
from numpy.typing import NDArray

from heron import _core
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import Const
from heron.graph.graph import Weight

#: Bytes of a matrix that does not lie in a mapped file which one thread packs at a time.
PIECE = 1 << 20


class NativeWeights:
    """Each tensor is made ready once, whatever the number of nodes and entries that use it.

    Packing goes on in the background from `start` on; what is multiplied is `in_use` meanwhile. With ``repack`` false
    matrices that lie in a mapped file stay there; with ``lock`` matrices are kept in memory, if the system allows it.
    """

    def __init__(self, runtime: _core.Runtime, repack: bool = True, lock: bool = False) -> None:
        self._runtime, self._repack, self._lock = runtime, repack, lock
        self._made: dict[tuple[int, bool], tuple[Tensor, _core.Weight]] = {}  # the tensor is kept so that its id stays its own
        self._new: list[tuple[Tensor, _core.Weight]] = []  # still to be packed
        self._job: _Job | None = None
        self._unlocked: list[_core.Weight] = []  # to be kept in memory, once they are there

    def get(self, weight: Weight, matrix: bool) -> _core.Weight:
        key = (id(weight.tensor), matrix)
        if key not in self._made:
            self._made[key] = (weight.tensor, self._matrix(weight) if matrix else _plain(weight))
        return self._made[key][1]

    def _matrix(self, weight: Weight) -> _core.Weight:
        tensor = weight.tensor
        if not _core.knows_format(tensor.format.id):
            tensor = Const(tensor.numpy())
        shape, format = list(tensor.shape), tensor.format.id
        rows = None if self._repack else _mapped_rows(tensor)
        if rows is not None and rows.flags.c_contiguous:
            made = _core.Weight(self._runtime, weight.name, shape, format, rows)
        else:
            made = _core.Weight(self._runtime, weight.name, shape, format)
            self._new.append((tensor, made))
        if self._lock:
            self._unlocked.append(made)
        return made

    def start(self) -> None:
        """Pack what was asked for since the last time, in the background."""
        self._finish()
        if self._new:
            self._job, self._new = _Job(self._runtime, self._new), []
            self._job.start()

    @property
    def may_begin_early(self) -> bool:
        """Whether a step can be run before everything is packed. Only one is worth it: packing makes the next ones faster."""
        return self._job is not None and self._job.may_begin_early and not (self._new or self._unlocked)

    @contextmanager
    def in_use(self) -> Iterator[None]:
        """While a step multiplies. The first one need not wait: what is not packed by then is multiplied where it lies in the file."""
        job = self._job if self.may_begin_early and self._job and self._job.hold() else None
        if job is None:
            self.wait()
        try:
            yield
        finally:
            if job:
                job.go_on()

    def wait(self) -> None:
        """Return when everything that was asked for is packed. Raises what went wrong."""
        if self._job or self._new:
            self.start()
            self._finish()
        if self._unlocked:
            self._lock_matrices()

    def _finish(self) -> None:
        if self._job:
            self._job.finish()
            self._job = None

    def _lock_matrices(self) -> None:
        matrices, self._unlocked = self._unlocked, []
        if refused := sum(not made.lock() for made in matrices):
            warnings.warn(
                f"mlock: {refused} of {len(matrices)} matrices could not be locked in memory and may be swapped out; "
                "raise the limit (ulimit -l, LimitMEMLOCK= of systemd, --ulimit memlock=-1 of docker)",
                stacklevel=2,
            )

    @property
    def nbytes(self) -> int:
        return sum(made.nbytes for _, made in self._made.values())

    @property
    def to_come(self) -> int:
        """Bytes that packing has not written yet."""
        return self._job.left if self._job else 0

    def clear(self) -> None:
        if self._job:
            self._job.cancel()
            self._job = None
        self._new.clear()
        self._unlocked.clear()
        self._made.clear()


class _Job(Thread):
    """Packs matrices: those that lie in mapped files without the GIL, then the others, piece by piece as their rows are made."""

    def __init__(self, runtime: _core.Runtime, matrices: list[tuple[Tensor, _core.Weight]]) -> None:
        super().__init__(name="heron-packing")
        self._runtime, self._packing = runtime, _core.Packing()
        self._cancelled = False
        self._error: BaseException | None = None
        self._kept = matrices
        self._others = [(tensor, made) for tensor, made in matrices if not self._leave_to_core(tensor, made)]
        self.may_begin_early = not self._others and self._packing.can_wait()
        if not self.may_begin_early:
            self._packing.hurry()

    def _leave_to_core(self, tensor: Tensor, made: _core.Weight) -> bool:
        rows = _mapped_rows(tensor)
        if rows is None:
            return False
        n = tensor.shape[-2]
        for matrix in range(prod(tensor.shape[:-2])):
            self._packing.add(made, matrix, rows[matrix * n : (matrix + 1) * n])
        return True

    def run(self) -> None:
        try:
            self._packing.run(self._runtime)
            for tensor, made in self._others:
                self._pack(tensor, made)
        except BaseException as error:  # finish() raises it where somebody sees it
            self._error = error

    def _pack(self, tensor: Tensor, made: _core.Weight) -> None:
        """A mapped file's pages are let go behind here too."""
        rows, matrices = tensor.shape[-2], prod(tensor.shape[:-2])
        piece = max(1, PIECE // (made.panel_rows * tensor.row_bytes)) * made.panel_rows
        pieces = -(-rows // piece)

        def body(chunk: int) -> None:
            if self._cancelled:
                return
            matrix, first = chunk // pieces, chunk % pieces * piece
            part = tensor.rows(matrix * rows + first, matrix * rows + min(rows, first + piece))
            made.pack_rows(matrix, first, part, _is_mapped(part))

        self._runtime.parallel(matrices * pieces, body)

    @property
    def left(self) -> int:
        return self._packing.left() + (sum(made.nbytes for _, made in self._others) if self.is_alive() else 0)

    def hold(self) -> bool:
        """Hold packing up for a step, until `go_on`; whether nothing went wrong so far."""
        self.may_begin_early = False
        self._packing.hold()
        if self._error:
            self._packing.go_on()
        return self._error is None

    def go_on(self) -> None:
        self._packing.hurry()  # the next step waits for it
        self._packing.go_on()

    def finish(self) -> None:
        """Wait for the end. Raises what went wrong."""
        self._packing.hurry()
        self.join()
        if self._error:
            raise self._error

    def cancel(self) -> None:
        """End soon, with weights that are good for nothing."""
        self._cancelled = True
        self._packing.cancel()
        self.join()


def _plain(weight: Weight) -> _core.Weight:
    return _core.Weight(weight.name, list(weight.shape), np.ascontiguousarray(weight.tensor.numpy().reshape(-1)))


def _mapped_rows(tensor: Tensor) -> NDArray[np.uint8] | None:
    """All rows, if they lie in a mapped file as they are wanted."""
    rows = tensor.in_place()
    return rows if rows is not None and _is_mapped(rows) else None


def _is_mapped(array: NDArray[np.uint8]) -> bool:
    """Whether the bytes are those of a mapped file, and not a copy of them."""
    base: object = array
    while isinstance(base, np.ndarray | memoryview):
        base = base.base if isinstance(base, np.ndarray) else base.obj
    return isinstance(base, mmap.mmap)
