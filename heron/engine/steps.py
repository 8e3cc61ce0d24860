"""Computes what an engine's requests want, a step at a time, and ends those that are done. One thread calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Executable, Result
from heron.engine.cache import Span, next_step, reading_step
from heron.engine.choosing import Chooser
from heron.engine.generation import Piece
from heron.engine.overlap import Flight, chosen_there, sampled_there
from heron.engine.plain import sampling
from heron.engine.request import Request, Work
from heron.engine.sampled import Sampled
from heron.engine.scheduler import Part, Scheduler
from heron.engine.speculate import Speculation
from heron.engine.statistics import Statistics
from heron.engine.vectors import Text, Texts
from heron.errors import BackendError, HeronError, RequestError, RequestTimeout


@dataclass
class Turn:
    """A request that has its next tokens chosen, by these rows of logits: as long as each draft is what was chosen."""

    request: Request
    rows: range
    drafts: list[int]
    accepted: int = 0

    def go_on(self, piece: Piece) -> bool:
        """Whether there is another token to choose after this one."""
        if self.accepted == len(self.drafts) or piece.token != self.drafts[self.accepted]:
            return False
        self.accepted += 1
        return not self.request.answer.finish_reason


class Steps:
    """``reads``: an encoder reads texts whose vectors are wanted; without one a decoder computes them as it does prompts."""

    def __init__(self, executable: Executable, scheduler: Scheduler, speculation: Speculation, reads: bool) -> None:
        self._executable, self._scheduler, self._speculation, self._reads = executable, scheduler, speculation, reads
        self._texts, self._chooser = Texts(executable), Chooser(executable.threads)
        self._flight: Flight | None = None  # the step under way
        self.statistics = Statistics()

    def add(self, work: Work) -> None:
        if work.over:
            self.end(work, work.over)
        elif self._reads and isinstance(work, Text):
            self._texts.add(work)
        else:
            self._scheduler.add(work)

    def works(self) -> Iterator[Work]:
        """All that is waited for."""
        yield from [*self.waiting(), *self._scheduler.running]

    def waiting(self) -> list[Work]:
        return [*self._scheduler.waiting, *self._texts.waiting]

    def busy(self) -> bool:
        return self._flight is not None or next(self.works(), None) is not None

    def end(self, work: Work, reason: str, error: Exception | None = None) -> None:
        """Let a request go, and say why."""
        self._forget(work)
        self.statistics.end(work, reason)
        work.end(reason, error)

    def end_overdue(self) -> None:
        """Let those go that were cancelled, or whose time is over."""
        now = time.perf_counter()
        for work in self.works():
            if work.cancelled:
                self.end(work, "cancelled")
            elif now > work.deadline:
                given = work.deadline - work.arrived
                self.end(work, "error", RequestTimeout(f"the request was not answered in {given:g} s, the time it was given"))

    def _forget(self, work: Work) -> None:
        self._scheduler.remove(work)
        if isinstance(work, Text):
            self._texts.remove(work)
        if isinstance(work, Request):
            self._speculation.forget(work)

    def compute(self) -> bool:
        """Submit a step of the encoder's texts and one of the requests, and take up what is due; whether there was anything to do."""
        self._speculation.guess([work for work in self._scheduler.running if isinstance(work, Request)])
        parts, before = self._plan(), self._flight
        texts, stuck = self._texts.take(), self._scheduler.take_stuck()
        for work in stuck:
            self.end(work, "error", RequestError(f"the cache has no room for more than {len(work.tokens)} tokens; ask for a larger one"))
        if texts:
            self._encode(texts)
        self._flight = self._submit(parts) if parts else None
        if before is not None:
            self._land(before)
        if self._flight is not None and self._flight.chosen is None:
            self.land()
        return bool(texts or parts or stuck or before)

    def _plan(self) -> list[Part]:
        """The next step's parts. While a step is under way nobody gives way: it may be the last one of who has the room."""
        parts = self._scheduler.plan(patient=self._flight is not None)
        if parts is None:
            self.land()
            parts = self._scheduler.plan()
        return parts or []

    def _encode(self, texts: list[Text]) -> None:
        try:
            self._texts.compute(texts)
        except Exception as error:
            self._fail(texts, error)
            return
        for text in texts:
            self._finish(text)

    def _submit(self, parts: list[Part]) -> Flight | None:
        try:
            return self._submitted(parts)
        except Exception as error:  # what the cache holds of these requests is unknown
            self._fail([part.request for part in parts], error)
            return None

    def _submitted(self, parts: list[Part]) -> Flight:
        for part in parts:
            if part.request.source and not part.request.sequence.tokens:
                self._executable.submit("encode", reading_step([(part.request.sequence, part.request.source)]), ("hidden",))
        batch = next_step([Span(part.request.sequence, part.tokens, _rows(part), part.drafts) for part in parts])
        if self._flight is not None:
            self._flight.chain(parts, batch)
        chosen = chosen_there(parts) if self._executable.samples else None
        if chosen is not None:
            how = sampling([(plain, len(request.sequence.tokens)) for request, plain in chosen.items()])
            return Flight(parts, self._executable.submit("forward", batch, (), how), chosen)
        vectors = any(isinstance(part.request, Text) for part in parts)
        return Flight(parts, self._executable.submit("forward", batch, ("logits", "normed") if vectors else ("logits",)))

    def land(self) -> None:
        """Wait for the step under way, if there is one, and take it up."""
        flight, self._flight = self._flight, None
        if flight is not None:
            self._land(flight)

    def _land(self, flight: Flight) -> None:
        """Wait for a step and take up what it gives."""
        try:
            result = flight.ticket.result()
        except Exception as error:
            self._scheduler.cache.forget()
            self._fail([part.request for part in flight.parts], error)
            return
        if flight.chosen is None:
            self._take_up(flight.parts, result)
        else:
            self._take_chosen(flight, result)

    def _fail(self, works: Sequence[Work], error: Exception) -> None:
        for work in works:
            if not isinstance(work, Request) or not work.finish_reason:
                self.end(work, "error", error if isinstance(error, HeronError) else BackendError(f"a step failed: {error}"))

    def _take_chosen(self, flight: Flight, result: Result) -> None:
        """Take up the tokens that the device chose; the requests that ended while it did are passed over."""
        for part in flight.parts:
            request = part.request
            if not isinstance(request, Request) or request.finish_reason:
                continue
            row = flight.rows.get(request)
            with self._ending_alone(request):
                if row is not None:
                    request.awaited -= 1
                    _check(result.nonfinite[row])
                    piece = self._take(request, sampled_there(result, row))
                    request.sequence.learn(piece.token)
                self._settle(request, part.last)

    def _take_up(self, parts: list[Part], result: Result) -> None:
        """Hand out vectors and scores, and choose the next tokens. A request for which that fails ends alone."""
        row, at, turns = 0, 0, []
        for part in parts:
            request = part.request
            if isinstance(request, Text):
                request.sequence.settle()
                request.take(len(request.sequence.tokens) - len(part.tokens), result["normed"][at : at + len(part.tokens)].copy())
                if part.last:
                    self._finish(request)
            elif isinstance(request, Request) and request.finish_reason:  # ended by the step before
                row += len(_rows(part))
            elif isinstance(request, Request):
                scored, rows = len(part.scored), row + len(_rows(part))
                with self._ending_alone(request):
                    self._score(part, request, np.asarray(result["logits"][row : row + scored]), result.nonfinite[row : row + scored])
                    if part.last and not request.answer.finish_reason:
                        turns.append(Turn(request, range(row + scored, rows), part.tokens[len(part.tokens) - part.drafts :]))
                    else:
                        self._settle(request, part.last)
                row = rows
            at += len(part.tokens)
        self._choose(turns, np.asarray(result["logits"]), result.nonfinite)

    def _score(self, part: Part, request: Request, logits: NDArray[np.float32], damaged: NDArray[np.bool_]) -> None:
        """Score the prompt's tokens by the rows in front of them."""
        if part.scored and request.scores is not None:
            _check(damaged.any())
            after = len(request.sequence.tokens) - len(part.tokens) + 1
            request.scores.add(logits, request.tokens[after + part.scored.start : after + part.scored.stop])

    def _choose(self, turns: list[Turn], logits: NDArray[np.float32], damaged: NDArray[np.bool_]) -> None:
        """Choose a token by the first row of each, then by the next rows of those whose draft is what was chosen."""
        while turns:
            answers, rows = [turn.request.answer for turn in turns], [turn.rows[turn.accepted] for turn in turns]
            chosen, left = self._chooser.choose(answers, logits, rows), []
            for turn, row, sampled in zip(turns, rows, chosen, strict=True):
                request = turn.request
                with self._ending_alone(request):
                    _check(damaged[row])
                    if isinstance(sampled, Exception):
                        raise sampled
                    piece = self._take(request, sampled)
                    if turn.go_on(piece):
                        left.append(turn)
                    else:
                        self._settle(request, True, len(turn.drafts), turn.accepted)
            turns = left

    def _take(self, request: Request, sampled: Sampled) -> Piece:
        """The request's next token."""
        piece = request.answer.take(sampled)
        self.statistics.token(request, request.take(piece))
        return piece

    def _settle(self, request: Request, last: bool, drafted: int = 0, accepted: int = 0) -> None:
        request.sequence.settle(drafted - accepted, self._flight.computed(request) if self._flight is not None else 0)
        if drafted and request.guesses is not None:
            if not request.guesses.sure:
                request.guesses.pace.learn(drafted, accepted, alone=len(self._scheduler.running) == 1)
            self.statistics.guesses(request, drafted, accepted)
        if last and request.answer.finish_reason:
            self.end(request, request.answer.finish_reason)

    @contextmanager
    def _ending_alone(self, request: Request) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self.end(request, "error", error)

    def _finish(self, text: Text) -> None:
        self._forget(text)
        self.statistics.prompt(text)
        try:
            text.finish()
        except Exception as error:
            self.end(text, "error", error)
        else:
            self.statistics.end(text, "vector")


def _check(damaged: bool | np.bool_) -> None:
    if damaged:
        raise BackendError("the model computed logits that are not finite; its weights may be damaged")


def _rows(part: Part) -> list[int]:
    """Which of a part's tokens give logits: those that score the prompt, the last one, after which a token is chosen, and drafts."""
    if not part.last or not isinstance(part.request, Request):
        return [*part.scored]
    return [*part.scored, *range(len(part.tokens) - 1 - part.drafts, len(part.tokens))]
