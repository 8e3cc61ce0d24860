"""SamplingParams: how the next token is chosen, checked when it is made."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

from heron.errors import RequestError

#: Numbers: name -> (least, most, whole). Infinite bounds are open.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "temperature": (0.0, 100.0, False),
    "top_k": (0, 2**31 - 1, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, False),
    "typical_p": (0.0, 1.0, False),
    "repeat_penalty": (0.01, 100.0, False),
    "repeat_last_n": (-1, 2**31 - 1, True),
    "frequency_penalty": (-100.0, 100.0, False),
    "presence_penalty": (-100.0, 100.0, False),
    "mirostat": (0, 2, True),
    "mirostat_tau": (0.0, 100.0, False),
    "mirostat_eta": (0.0, 1.0, False),
    "seed": (0, 2**64 - 1, True),
    "max_tokens": (0, 2**31 - 1, True),
}
_OPTIONAL = frozenset({"seed", "max_tokens"})


@dataclass(frozen=True)
class SamplingParams:
    """Parameters by their usual names. Raises RequestError for a value out of range, naming it.

    ``temperature`` 0 takes the likeliest token. ``top_k`` 0, ``top_p`` 1, ``min_p`` 0, ``typical_p`` 1 and ``mirostat`` 0
    are off. ``repeat_last_n`` is how many of the last tokens the penalties look at (-1: all). ``seed`` None draws one.
    ``max_tokens`` None means as many as the context holds.
    """

    temperature: float = 0.8
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    seed: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False

    def __post_init__(self) -> None:
        for name, (least, most, whole) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            _check(name, value, least, most, whole)
        if isinstance(self.stop, str) or not all(isinstance(s, str) and s for s in self.stop):
            raise RequestError(f"stop is {self.stop!r:.60}; give a list of texts, none of them empty")
        object.__setattr__(self, "stop", tuple(self.stop))
        object.__setattr__(self, "stop_token_ids", tuple(int(i) for i in self.stop_token_ids))

    def changed(self, **changes: Any) -> SamplingParams:
        """A copy with other values. Raises RequestError for a name that is no sampling parameter."""
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        if unknown := sorted(changes.keys() - known.keys()):
            raise RequestError(f"unknown sampling parameter {', '.join(unknown)}; known are {', '.join(known)}")
        return SamplingParams(**(known | changes))


def _check(name: str, value: Any, least: float, most: float, whole: bool) -> None:
    kind = "a whole number" if whole else "a number"
    number = isinstance(value, int) if whole else isinstance(value, (int, float))
    if isinstance(value, bool) or not number or (isinstance(value, float) and not math.isfinite(value)) or not least <= value <= most:
        raise RequestError(f"{name} is {value!r:.40}; give {kind} from {least:g} to {most:g}")
