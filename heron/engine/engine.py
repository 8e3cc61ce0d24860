"""Engine: many requests at once on one model, by continuous batching over a paged cache."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np

from heron.backends.base import Result, StateGroup
from heron.engine.answer import Answer
from heron.engine.cache import next_step, reading_step, units_for
from heron.engine.generation import Generation, Piece
from heron.engine.memory import available_bytes
from heron.engine.model import CONTEXT_SHARE, Model, Prompt
from heron.engine.prefix import CachedSequence, PrefixCache
from heron.engine.request import Deliver, Request, checked
from heron.engine.sampling import SamplingParams
from heron.engine.scheduler import Part, Scheduler
from heron.errors import BackendError, HeronError, RequestError


class Engine:
    """Requests in, tokens out. It takes the model's cache for itself; one thread of its own computes the steps.

    ``max_seqs`` requests are computed beside each other, others wait. ``kv_cache_size`` is the cache's size in tokens (0: room for
    ``max_seqs`` whole contexts, or as much of it as fits in half of the free memory). ``step_tokens`` bounds how much of
    prompts one step computes: more reads prompts faster, less lets others' answers come more evenly. With ``prefix_cache`` what
    prompts have in common is computed once.
    """

    def __init__(
        self, model: Model, *, max_seqs: int = 16, kv_cache_size: int = 0, step_tokens: int = 256, prefix_cache: bool = True
    ) -> None:
        model.must_generate()
        for value, name, least in ((max_seqs, "max_seqs", 1), (step_tokens, "step_tokens", 1), (kv_cache_size, "kv_cache_size", 0)):
            checked(value, name, least)
        self.model, self._executable = model, model.executable
        self._groups, self._step_tokens = self._executable.state_groups, step_tokens
        self.kv_tokens = kv_cache_size or self._tokens_that_fit(max_seqs)
        units = {g.name: self._units(g, self.kv_tokens, max_seqs) for g in self._groups}
        model.lend()
        self._executable.allocate(units)
        self.cache = PrefixCache(self._groups, units)
        self._prefix_cache = prefix_cache
        self.scheduler = Scheduler(self.cache, step_tokens, max_seqs)
        self._changed = threading.Condition()
        self._arrived: list[Request] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    # Memory

    def _units(self, group: StateGroup, tokens: int, max_seqs: int) -> int:
        """Units of a group for so many tokens of all sequences together; a window never needs more than its own of each."""
        alone = units_for(group, min(tokens, self.model.context_length), self._step_tokens) - 1
        if group.kind == "slot":
            return 1 + max_seqs
        return 1 + min(-(-tokens // group.block_size) + 2, alone * max_seqs)

    def _tokens_that_fit(self, max_seqs: int) -> int:
        tokens, context = max_seqs * self.model.context_length, self.model.context_length
        while tokens > context and self._bytes(tokens, max_seqs) > CONTEXT_SHARE * available_bytes():
            tokens = max(context, tokens // 2)
        return tokens

    def _bytes(self, tokens: int, max_seqs: int) -> int:
        return sum(self._units(g, tokens, max_seqs) * g.unit_bytes for g in self._groups)

    # Requests

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        priority: int = 0,
        deliver: Deliver | None = None,
        sample: int = 0,
        **sampling: Any,
    ) -> Request:
        """Queue a request; its pieces come as they are generated (``for piece in request``, ``request.result()``).

        ``prompt`` and sampling parameters are those of ``Model.generate``. A lower ``priority`` is served first.
        ``sample`` counts the answers to one prompt with one seed: each has random numbers of its own.
        ``deliver``, called in the engine's thread, takes the pieces instead. Raises RequestError for a prompt that does not fit.
        """
        params = (params or SamplingParams()).changed(**sampling)
        ids = self.model.encode(prompt)
        room = min(self.model.context_length, self.kv_tokens)
        if len(ids) >= room:
            raise RequestError(f"the prompt has {len(ids)} tokens, the context holds {room}; shorten it, or ask for a larger --ctx-size")
        start = self.model.graph_model.decoder_start
        tokens, source = (ids, []) if start is None else ([start], ids)
        chat = not isinstance(prompt, str) and isinstance(prompt[0], dict)
        answer = Answer(self.model.tokenizer, params, tokens, room - len(tokens), continues=not chat, sample=sample)
        request = Request(tokens, answer, CachedSequence(self.cache, self._prefix_cache, len(source)), source, priority, deliver)
        request.timings.prompt_tokens = len(ids)
        with self._changed:
            if self._closed:
                raise RequestError("the engine is closed")
            self._arrived.append(request)
            self._changed.notify()
        return request

    def cancel(self, request: Request) -> None:
        """End a request at once, wherever it is; its reader sees the end."""
        with self._changed:
            request.cancelled = True
            self._changed.notify()

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
    ) -> AsyncIterator[Piece]:
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

    # Steps

    def start(self) -> None:
        """Let the engine's own thread compute steps, if it does not yet."""
        with self._changed:
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._serve, name="heron-engine", daemon=True)
                self._thread.start()

    def _serve(self) -> None:
        while True:
            with self._changed:
                while not (self._closed or self._busy()):
                    self._changed.wait()
                if self._closed:
                    break
            try:
                self.step()
            except Exception as error:  # a fault of ours: nobody may wait for ever
                self._end_all("error", BackendError(f"the engine failed: {error!r}"))

    def _end_all(self, reason: str, error: Exception) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, []
        for request in [*arrived, *self.scheduler.waiting, *self.scheduler.running]:
            self._end(request, reason, error)

    def _busy(self) -> bool:
        return bool(self._arrived or self.scheduler.waiting or self.scheduler.running)

    def step(self) -> bool:
        """Compute one step; whether there was anything to compute. For callers that never ``start`` a thread."""
        self._take_in()
        parts = self.scheduler.plan()
        if not parts:
            return False
        try:
            for part in parts:
                if part.request.source and not part.request.sequence.tokens:
                    self._executable.run("encode", reading_step([(part.request.sequence, part.request.source)]), ("hidden",))
            rows = [[len(part.tokens) - 1] if part.last else [] for part in parts]
            steps = [(part.request.sequence, part.tokens, wanted) for part, wanted in zip(parts, rows, strict=True)]
            result = self._executable.run("forward", next_step(steps))
        except Exception as error:  # what the cache holds of these requests is unknown
            for part in parts:
                self._end(part.request, "error", error if isinstance(error, HeronError) else BackendError(f"a step failed: {error}"))
            return True
        self._take_up(parts, result)
        return True

    def _take_in(self) -> None:
        with self._changed:
            arrived, self._arrived = self._arrived, []
        for request in arrived:
            if request.answer.finish_reason:
                request.end(request.answer.finish_reason)
            else:
                self.scheduler.add(request)
        for request in [*self.scheduler.waiting, *self.scheduler.running]:
            if request.cancelled:
                self._end(request, "cancelled")

    def _take_up(self, parts: list[Part], result: Result) -> None:
        """Choose the next tokens. A request whose logits are not finite, or whose sampler fails, ends alone."""
        chosen = [part.request for part in parts if part.last]
        for part in parts:
            part.request.sequence.publish()
        for row, request in enumerate(chosen):
            try:
                if result.nonfinite[row]:
                    raise BackendError("the model computed logits that are not finite; its weights may be damaged")
                request.take(request.answer.push(np.asarray(result["logits"][row])))
            except Exception as error:
                self._end(request, "error", error)
                continue
            if request.answer.finish_reason:
                self._end(request, request.answer.finish_reason)

    def _end(self, request: Request, reason: str, error: Exception | None = None) -> None:
        self.scheduler.remove(request)
        request.end(reason, error)

    def close(self) -> None:
        """End all requests and the thread. The model goes on with a cache of its own."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._end_all("cancelled", RequestError("the engine was closed"))
        self.model.allocate()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
