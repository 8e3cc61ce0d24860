"""Computes what an engine's requests want, a step at a time, and ends those that are done. One thread calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Executable, Result
from heron.engine.cache import next_step, reading_step
from heron.engine.request import Request, Work
from heron.engine.scheduler import Part, Scheduler
from heron.engine.statistics import Statistics
from heron.engine.vectors import Text, Texts
from heron.errors import BackendError, HeronError, RequestTimeout


class Steps:
    """``reads``: an encoder reads texts whose vectors are wanted; without one a decoder computes them as it does prompts."""

    def __init__(self, executable: Executable, scheduler: Scheduler, reads: bool) -> None:
        self._executable, self._scheduler, self._reads = executable, scheduler, reads
        self._texts = Texts(executable)
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
        return next(self.works(), None) is not None

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

    def compute(self) -> bool:
        """One step of the encoder's texts and one of the requests; whether there was anything to compute."""
        parts = self._scheduler.plan()
        texts = self._texts.take()
        if texts:
            self._encode(texts)
        if parts:
            self._forward(parts)
        return bool(texts or parts)

    def _encode(self, texts: list[Text]) -> None:
        try:
            self._texts.compute(texts)
        except Exception as error:
            self._fail(texts, error)
            return
        for text in texts:
            self._finish(text)

    def _forward(self, parts: list[Part]) -> None:
        try:
            result = self._run(parts)
        except Exception as error:  # what the cache holds of these requests is unknown
            self._fail([part.request for part in parts], error)
            return
        self._take_up(parts, result)

    def _fail(self, works: list[Text] | list[Work], error: Exception) -> None:
        for work in works:
            self.end(work, "error", error if isinstance(error, HeronError) else BackendError(f"a step failed: {error}"))

    def _run(self, parts: list[Part]) -> Result:
        for part in parts:
            if part.request.source and not part.request.sequence.tokens:
                self._executable.run("encode", reading_step([(part.request.sequence, part.request.source)]), ("hidden",))
        steps = [(part.request.sequence, part.tokens, _rows(part)) for part in parts]
        vectors = any(isinstance(part.request, Text) for part in parts)
        return self._executable.run("forward", next_step(steps), ("logits", "normed") if vectors else ("logits",))

    def _take_up(self, parts: list[Part], result: Result) -> None:
        """Choose the next tokens. A request whose logits are not finite, or whose sampler fails, ends alone."""
        row, at = 0, 0
        for part in parts:
            request = part.request
            request.sequence.publish()
            if isinstance(request, Text):
                request.take(len(request.sequence.tokens) - len(part.tokens), result["normed"][at : at + len(part.tokens)].copy())
                if part.last:
                    self._finish(request)
            elif isinstance(request, Request):
                rows = slice(row, row := row + len(_rows(part)))
                self._read(part, request, np.asarray(result["logits"][rows]), bool(result.nonfinite[rows].any()))
            at += len(part.tokens)

    def _read(self, part: Part, request: Request, logits: NDArray[np.float32], damaged: bool) -> None:
        """Score the prompt by the logits of a part's rows, and choose the next token by the last of them."""
        try:
            if damaged:
                raise BackendError("the model computed logits that are not finite; its weights may be damaged")
            if request.scores is not None and part.scored:
                after = len(request.sequence.tokens) - len(part.tokens) + 1
                request.scores.add(logits[: len(part.scored)], request.tokens[after + part.scored.start : after + part.scored.stop])
            if part.last and not request.answer.finish_reason:
                seconds = request.take(request.answer.push(logits[-1]))
                self.statistics.token(request, seconds)
        except Exception as error:
            self.end(request, "error", error)
            return
        if part.last and request.answer.finish_reason:
            self.end(request, request.answer.finish_reason)

    def _finish(self, text: Text) -> None:
        self._forget(text)
        self.statistics.prompt(text)
        try:
            text.finish()
        except Exception as error:
            self.end(text, "error", error)
        else:
            self.statistics.end(text, "vector")


def _rows(part: Part) -> list[int]:
    """Which of a part's tokens give logits: those that score the prompt, and the last one, after which a token is chosen."""
    chooses = part.last and isinstance(part.request, Request)
    return [*part.scored, len(part.tokens) - 1] if chooses else [*part.scored]
