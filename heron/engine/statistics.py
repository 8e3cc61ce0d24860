"""What an engine has done and what it is doing, for whoever watches it."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field

from heron.engine.request import Work

#: Upper bounds in seconds: of the wait for a first token, and of the time between two.
FIRST_TOKEN = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
BETWEEN_TOKENS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5)

#: How requests end.
REASONS = ("stop", "length", "cancelled", "error", "vector")


@dataclass
class Distribution:
    """How many values were at most each bound (and above the one before); the last count is of those above all."""

    bounds: tuple[float, ...]
    total: float = 0.0

    def __post_init__(self) -> None:
        self.counts = [0] * (len(self.bounds) + 1)

    def add(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def plus(self, other: Distribution) -> Distribution:
        """Of the values of both, whose bounds are the same."""
        both = Distribution(self.bounds, self.total + other.total)
        both.counts = [mine + its for mine, its in zip(self.counts, other.counts, strict=True)]
        return both


@dataclass
class Statistics:
    """Counts since the engine was made. The engine's thread writes, others read a copy of it."""

    prompt_tokens: int = 0  # of requests whose first token came, and of texts whose vector did
    cached_tokens: int = 0  # those of them that the prefix cache held
    generated_tokens: int = 0
    drafted_tokens: int = 0  # by speculation
    accepted_tokens: int = 0
    ended: dict[str, int] = field(default_factory=lambda: dict.fromkeys(REASONS, 0))
    first_token: Distribution = field(default_factory=lambda: Distribution(FIRST_TOKEN))
    between_tokens: Distribution = field(default_factory=lambda: Distribution(BETWEEN_TOKENS))
    pace: float = 0.0  # seconds from one end to the next while there was something to do, of late

    def __post_init__(self) -> None:
        self._last_end = 0.0

    @property
    def acceptance(self) -> float:
        """The part of the drafted tokens that the model confirmed."""
        return self.accepted_tokens / self.drafted_tokens if self.drafted_tokens else 0.0

    def plus(self, other: Statistics) -> Statistics:
        """What both engines have done."""
        names = ("prompt_tokens", "cached_tokens", "generated_tokens", "drafted_tokens", "accepted_tokens")
        return Statistics(
            **{name: getattr(self, name) + getattr(other, name) for name in names},
            ended={reason: count + other.ended[reason] for reason, count in self.ended.items()},
            first_token=self.first_token.plus(other.first_token),
            between_tokens=self.between_tokens.plus(other.between_tokens),
        )

    def prompt(self, work: Work) -> None:
        """A prompt is computed."""
        self.prompt_tokens += work.timings.prompt_tokens
        self.cached_tokens += work.timings.cached_tokens

    def token(self, work: Work, seconds: float) -> None:
        """A token was chosen so many seconds after the one before it, or after the request came."""
        self.generated_tokens += 1
        if work.timings.decoded_tokens:
            self.between_tokens.add(seconds)
        else:
            self.prompt(work)
            self.first_token.add(seconds)

    def guesses(self, work: Work, guessed: int, right: int) -> None:
        """So many tokens were guessed and checked, so many of them right."""
        self.drafted_tokens += guessed
        self.accepted_tokens += right
        work.timings.drafted_tokens += guessed
        work.timings.accepted_tokens += right

    def end(self, work: Work, reason: str) -> None:
        now = time.perf_counter()
        took = now - max(self._last_end, work.arrived)
        self.pace = took if not self.pace else 0.9 * self.pace + 0.1 * took
        self._last_end = now
        self.ended[reason] += 1


@dataclass(frozen=True)
class Doing:
    """A request under way. ``state`` is waiting, prompt (it is being read) or answer."""

    number: int
    state: str
    prompt_tokens: int
    computed_tokens: int  # that the cache holds of it, of the prompt and of the answer
    generated_tokens: int
    cached_tokens: int
    preemptions: int
    seconds: float  # since it came


@dataclass(frozen=True)
class Snapshot:
    """A moment's picture, taken from another thread: a request that is just going from waiting to running may be missing.

    ``units`` says of each group of the cache how many sequences hold, and how many there are.
    """

    waiting: tuple[Doing, ...] = ()
    running: tuple[Doing, ...] = ()
    units: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    preemptions: int = 0
    statistics: Statistics = field(default_factory=Statistics)

    def plus(self, other: Snapshot) -> Snapshot:
        """Of both engines together."""
        units = dict(self.units)
        for name, (used, total) in other.units.items():
            mine = units.get(name, (0, 0))
            units[name] = mine[0] + used, mine[1] + total
        return Snapshot(
            self.waiting + other.waiting,
            self.running + other.running,
            units,
            self.preemptions + other.preemptions,
            self.statistics.plus(other.statistics),
        )

    @property
    def past(self) -> Snapshot:
        """What was done, without what is being done."""
        return Snapshot(preemptions=self.preemptions, statistics=self.statistics)

    @property
    def cache_usage(self) -> float:
        """The part of the cache that is held, 0 to 1: of the group that is nearest to its end."""
        return max((used / total for used, total in self.units.values() if total), default=0.0)


def doing(work: Work, running: bool) -> Doing:
    """What may be seen of a request."""
    generated, computed = len(work.tokens) - work.prompt_length, len(work.sequence.tokens)
    return Doing(
        number=work.number,
        state="waiting" if not running else "answer" if generated else "prompt",
        prompt_tokens=work.timings.prompt_tokens,
        computed_tokens=computed,
        generated_tokens=generated,
        cached_tokens=work.timings.cached_tokens,
        preemptions=work.preemptions,
        seconds=time.perf_counter() - work.arrived,
    )
