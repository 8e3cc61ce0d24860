"""Computes what an engine's requests want, a step at a time, and ends those that are done. One thread calls it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Executable, Result
from heron.engine.cache import Span, next_step, reading_step
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
        steps = [Span(part.request.sequence, part.tokens, _rows(part), part.drafts) for part in parts]
        vectors = any(isinstance(part.request, Text) for part in parts)
        return self._executable.run("forward", next_step(steps), ("logits", "normed") if vectors else ("logits",))

    def _take_up(self, parts: list[Part], result: Result) -> None:
        """Choose the next tokens. A request whose logits are not finite, or whose sampler fails, ends alone."""
        row, at = 0, 0
        for part in parts:
            request = part.request
            if isinstance(request, Text):
                request.sequence.settle()
                request.take(len(request.sequence.tokens) - len(part.tokens), result["normed"][at : at + len(part.tokens)].copy())
                if part.last:
                    self._finish(request)
            elif isinstance(request, Request):
                rows = slice(row, row := row + len(_rows(part)))
                self._read(part, request, np.asarray(result["logits"][rows]), result.nonfinite[rows])
            at += len(part.tokens)

    def _read(self, part: Part, request: Request, logits: NDArray[np.float32], damaged: NDArray[np.bool_]) -> None:
        """Score the prompt by the logits of a part's rows, and choose the next tokens by the rest of them."""
        scored = len(part.scored)
        try:
            if scored and request.scores is not None:
                _check(damaged[:scored].any())
                after = len(request.sequence.tokens) - len(part.tokens) + 1
                request.scores.add(logits[:scored], request.tokens[after + part.scored.start : after + part.scored.stop])
            accepted = (
                self._choose(request, part.tokens[len(part.tokens) - part.drafts :], logits[scored:], damaged[scored:]) if part.last else 0
            )
            request.sequence.settle(part.drafts - accepted)
        except Exception as error:
            self.end(request, "error", error)
            return
        if part.last and request.answer.finish_reason:
            self.end(request, request.answer.finish_reason)

    def _choose(self, request: Request, drafts: list[int], logits: NDArray[np.float32], damaged: NDArray[np.bool_]) -> int:
        """Choose a token by each row, as long as what was drafted is what is chosen; return how many drafts were."""
        for accepted in range(len(logits)):
            if request.answer.finish_reason:
                return accepted
            _check(damaged[accepted])
            piece = request.answer.push(logits[accepted])
            self.statistics.token(request, request.take(piece))
            if accepted == len(drafts) or piece.token != drafts[accepted]:
                return accepted
        return 0

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
    chooses = part.last and isinstance(part.request, Request)
    return [*part.scored, *range(len(part.tokens) - 1 - part.drafts, len(part.tokens))] if chooses else [*part.scored]
