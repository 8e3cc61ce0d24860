"""Vectors of texts, computed by an engine between the tokens of its requests."""

from __future__ import annotations

from bisect import insort
from concurrent.futures import Future
from dataclasses import dataclass, field

import numpy as np

from heron.backends.base import Executable
from heron.engine.embedding import STEP_TOKENS, Vector, encode, pooled
from heron.engine.request import Work
from heron.errors import RequestError


@dataclass(eq=False, kw_only=True)
class Text(Work):
    """A text whose vector is wanted, which ``future`` gets: float32 [hidden]."""

    pooling: str
    normalize: bool = True
    future: Future[Vector] = field(default_factory=Future)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.timings.prompt_tokens = len(self.tokens)
        self.future.set_running_or_notify_cancel()  # only an engine cancels it
        self._hidden: list[Vector] = []

    def take(self, at: int, hidden: Vector) -> None:
        """The states [T, hidden] of its tokens from place ``at`` on; from 0 where it begins anew."""
        if at == 0:
            self._hidden = []
        self._hidden.append(hidden)

    def finish(self) -> None:
        """Give the vector of the states taken. Raises BackendError for one that is not finite."""
        self.future.set_result(pooled(np.concatenate(self._hidden), self.pooling, self.normalize))

    def end(self, reason: str, error: Exception | None = None) -> None:
        if not self.future.done():
            self.future.set_exception(error or RequestError(f"the text's vector was not computed: {reason}"))


class Texts:
    """Texts that wait for an encoder, which reads each at once, and many in one step."""

    def __init__(self, executable: Executable) -> None:
        self._executable = executable
        self.waiting: list[Text] = []

    def add(self, text: Text) -> None:
        insort(self.waiting, text, key=lambda t: t.order)

    def remove(self, text: Text) -> None:
        if text in self.waiting:
            self.waiting.remove(text)

    def take(self) -> list[Text]:
        """The texts of the next step: the first, and those after it that fit beside it."""
        count, tokens = 0, 0
        for text in self.waiting:
            tokens += len(text.tokens)
            if count and tokens > STEP_TOKENS:
                break
            count += 1
        taken, self.waiting = self.waiting[:count], self.waiting[count:]
        return taken

    def compute(self, texts: list[Text]) -> None:
        """Have the encoder read them. Raises what the step raises."""
        for text, hidden in zip(texts, encode(self._executable, [text.tokens for text in texts]), strict=True):
            text.take(0, hidden)
