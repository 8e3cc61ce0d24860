"""Flight: a step under way, beside which the next one is planned and submitted.

A device that samples knows a step's tokens before the host does, and the next step takes them from there; in its sequence and in its batch
such a token stands as UNKNOWN until it has come. So the host detokenizes, delivers and plans while the device computes. A request
that turns out to be over has computed one token too many, which goes with all else that it held.

Where more than numbers decides (plain.py) the host chooses, and vectors and scores go to the host; a step with any of these is taken up
before the next one is planned.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heron.backends.base import Result, Ticket
from heron.backends.batch import Batch
from heron.engine.cache import UNKNOWN
from heron.engine.plain import Plain
from heron.engine.request import Request, Work
from heron.engine.sampled import NONE_ALLOWED, Sampled
from heron.engine.scheduler import Part
from heron.errors import RequestError

#: Whose next tokens the device chooses, in the order of the step's rows.
Chosen = dict[Request, Plain]


def chosen_there(parts: list[Part]) -> Chosen | None:
    """What a device can choose after a step of these parts; None where there is something in it for the host."""
    chosen: Chosen = {}
    for part in parts:
        request = part.request
        if not isinstance(request, Request) or part.scored:
            return None
        if part.last:
            if request.plain is None:
                return None
            chosen[request] = request.plain
    return chosen


def sampled_there(result: Result, row: int) -> Sampled:
    """The token that the device chose by this row. Raises RequestError where none may come."""
    token = int(result.tokens[row])
    if token < 0:
        raise RequestError(NONE_ALLOWED)
    return Sampled(token, float(result.logprobs[row]))


@dataclass
class Flight:
    """A step's parts, its ticket, and what the device chooses in it; None where the host chooses."""

    parts: list[Part]
    ticket: Ticket
    chosen: Chosen | None = None

    def __post_init__(self) -> None:
        self._computed: dict[Work, int] = {part.request: len(part.tokens) for part in self.parts}
        self.rows = {request: row for row, request in enumerate(self.chosen or ())}
        for request in self.rows:
            request.awaited += 1

    def computed(self, request: Work) -> int:
        """How many of a request's tokens the step computes."""
        return self._computed.get(request, 0)

    def chain(self, parts: list[Part], batch: Batch) -> None:
        """Have the next step's batch take the tokens that it does not know from this step."""
        unknown = np.flatnonzero(batch.tokens == UNKNOWN)
        if len(unknown):
            rows = [self.rows[request] for i in batch.sequence_of()[unknown] if isinstance(request := parts[i].request, Request)]
            batch.chained, batch.chained_from = self.ticket, np.full(len(batch.tokens), -1, np.int32)
            batch.chained_from[unknown] = rows
