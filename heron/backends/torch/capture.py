"""Recording what a function launches on a device, to launch it again without the host's work of doing so."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch


class Capture(Protocol):
    """Records functions that only launch: they read and write memory that stays where it is, and wait for nothing."""

    @property
    def nbytes(self) -> int:
        """Device memory that the recordings hold for what lies between their inputs and outputs."""

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """What launches again all that the function launched. Raises RuntimeError where it cannot be recorded."""

    def clear(self) -> None:
        """All recordings have been let go."""


def recorder(device: torch.device) -> Capture | None:
    """What records on the device; None where nothing does."""
    return CudaCapture(device) if device.type == "cuda" else None


class CudaCapture:
    """CUDA graphs (HIP's on AMD). They share one pool of memory: one is replayed at a time, and none leaves anything in it."""

    def __init__(self, device: torch.device) -> None:
        self._device, self._stream = device, torch.cuda.Stream(device)
        self.clear()

    def clear(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()  # torch ends a pool with its last graph
        self.nbytes = 0

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        before = torch.cuda.memory_reserved(self._device)
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        with torch.cuda.stream(self._stream):
            function()  # compiles, tunes and takes workspaces, none of which can be recorded
        torch.cuda.current_stream(self._device).wait_stream(self._stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on using the device.
        with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
            function()
        self.nbytes += max(0, torch.cuda.memory_reserved(self._device) - before)
        return graph.replay
