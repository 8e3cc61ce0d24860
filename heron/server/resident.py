"""A model in memory: its engine, who uses it, and until when it stays if nobody does."""

from __future__ import annotations

import gc
import math
from dataclasses import dataclass

from heron.backends import torch
from heron.engine.engine import Engine
from heron.server.catalog import Entry


@dataclass(eq=False)
class Resident:
    """Times are by the pool's clock, in seconds. ``keep_alive`` counts from when the last lease was given back."""

    entry: Entry
    engine: Engine
    keep_alive: float = math.inf
    seconds: float = 0.0  # that loading took
    used: float = 0.0
    leases: int = 0

    @property
    def expires(self) -> float:
        return math.inf if self.leases or self.entry.pinned else self.used + self.keep_alive

    @property
    def on_gpu(self) -> bool:
        return self.engine.model.device != "cpu"

    @property
    def bytes(self) -> int:
        """What it holds, or may come to hold, on its device."""
        return sum(self.engine.model.executable.memory().values())

    def close(self) -> None:
        """Give its memory back; what still runs ends with EngineClosed. For a thread: it takes as long as a step."""
        engine, device = self.engine, self.engine.model.device
        try:
            engine.close()
        finally:
            engine.model.close()
            del self.engine, engine
            gc.collect()  # its parts know each other
            if device != "cpu":
                torch.give_back(device)
