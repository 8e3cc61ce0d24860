"""What this machine can do at most: bytes a second from memory, multiply-adds a second."""

from __future__ import annotations

import os
import time

import numpy as np

from heron.compiled import core

#: Bytes that are read to time it where no core is compiled.
_READ = 1 << 28


def machine_limits(threads: int | None = None) -> dict[str, float]:
    """``read`` bytes/s and ``multiply``, int8 multiply-adds/s of vectors, on so many threads; measured, in about two seconds.

    Without the compiled core ``read`` is what one thread of numpy does, and there is no ``multiply``.
    """
    if core is None:
        memory, best = np.ones(_READ // 8), float("inf")
        for _ in range(3):
            begin = time.perf_counter()
            memory.max()
            best = min(best, time.perf_counter() - begin)
        return {"read": _READ / best}
    isa = os.environ.get("HERON_ISA") or core.instruction_sets()[-1]
    measured = core.machine_limits(isa, threads or core.Runtime(0).threads)
    return {"read": measured["read"], "multiply": measured["int8"]}
