"""How often models were loaded and unloaded, and what their engines did that are gone."""

from __future__ import annotations

from collections import Counter

from heron.engine.statistics import Snapshot


class Counts:
    """What was done, for /metrics, by models' names; ``swap_seconds`` are those that loading and unloading took."""

    def __init__(self) -> None:
        self.loads: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.unloads: Counter[tuple[str, str]] = Counter()  # by name and reason
        self.swap_seconds = 0.0
        self.pace = 1.0  # seconds of the last load
        self.past: dict[str, Snapshot] = {}  # of engines that are gone

    def loaded(self, name: str, seconds: float) -> None:
        self.loads[name] += 1
        self.swap_seconds += seconds
        self.pace = max(1.0, seconds)

    def unloaded(self, name: str, why: str, last: Snapshot) -> None:
        self.unloads[name, why] += 1
        self.past[name] = self.past.get(name, Snapshot()).plus(last.past)
