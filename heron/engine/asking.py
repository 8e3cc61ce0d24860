"""The ways to ask an engine: for all answers at once or piece by piece, for vectors, and each with and without asyncio."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.engine.generation import Generation, Piece
from heron.engine.model import Model, Prompt
from heron.engine.request import Deliver, Request, Work
from heron.engine.sampling import SamplingParams
from heron.engine.vectors import Text


class Asking(ABC):
    """What stands on ``submit``, ``submit_texts``, ``cancel`` and ``start``."""

    model: Model

    @abstractmethod
    def submit(
        self, prompt: Prompt, params: SamplingParams | None = None, *, priority: int = 0, deliver: Deliver | None = None, **sampling: Any
    ) -> Request: ...

    @abstractmethod
    def submit_texts(self, texts: Iterable[Prompt], pooling: str | None, normalize: bool, truncate: bool, priority: int) -> list[Text]: ...

    @abstractmethod
    def cancel(self, *requests: Work) -> None: ...

    @abstractmethod
    def start(self) -> None: ...

    # Texts

    def generate(
        self, prompts: Iterable[Prompt], params: SamplingParams | None = None, *, progress: bool = False, **sampling: Any
    ) -> list[Generation]:
        """The answers to all prompts, in their order; ``progress`` shows a bar on stderr. Raises what the first that failed raised."""
        requests = [self.submit(prompt, params, **sampling) for prompt in prompts]
        self.start()
        if not progress:
            return [request.result() for request in requests]
        from rich.console import Console
        from rich.progress import track

        return [request.result() for request in track(requests, "answers", console=Console(stderr=True))]

    def stream(self, prompt: Prompt, params: SamplingParams | None = None, *, priority: int = 0, **sampling: Any) -> Iterator[Piece]:
        """The pieces of one answer. Closing the iterator cancels the request."""
        request = self.submit(prompt, params, priority=priority, **sampling)
        self.start()
        try:
            yield from request
        finally:
            self.cancel(request)

    async def astream(
        self, prompt: Prompt, params: SamplingParams | None = None, *, priority: int = 0, **sampling: Any
    ) -> AsyncGenerator[Piece, None]:
        """The same for asyncio: the pieces are handed to the running loop, and a cancelled task cancels its request."""
        loop, pieces = asyncio.get_running_loop(), asyncio.Queue[Piece | None | Exception]()

        def deliver(item: Piece | Exception | None) -> None:
            loop.call_soon_threadsafe(pieces.put_nowait, item)

        request = self.submit(prompt, params, priority=priority, deliver=deliver, **sampling)
        self.start()
        try:
            while (item := await pieces.get()) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            self.cancel(request)

    # Vectors

    def embed(
        self,
        texts: Iterable[Prompt],
        pooling: str | None = None,
        normalize: bool = True,
        *,
        truncate: bool = False,
        priority: int = 0,
    ) -> NDArray[np.float32]:
        """float32 [len(texts), hidden]: the vectors that ``Model.embed`` gives, computed beside what else the engine does."""
        wanted = self.submit_texts(texts, pooling, normalize, truncate, priority)
        self.start()
        try:
            return self._stacked([text.future.result() for text in wanted])
        finally:
            self.cancel(*wanted)

    async def aembed(
        self,
        texts: Iterable[Prompt],
        pooling: str | None = None,
        normalize: bool = True,
        *,
        truncate: bool = False,
        priority: int = 0,
    ) -> NDArray[np.float32]:
        """The same for asyncio; a cancelled task cancels what is left to compute."""
        wanted = self.submit_texts(texts, pooling, normalize, truncate, priority)
        self.start()
        try:
            return self._stacked(await asyncio.gather(*(asyncio.wrap_future(text.future) for text in wanted)))
        finally:
            self.cancel(*wanted)

    def _stacked(self, vectors: list[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack(vectors) if vectors else np.zeros((0, self.model.graph_model.hidden_size), np.float32)
