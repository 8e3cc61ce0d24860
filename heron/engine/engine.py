"""Engine: many requests at once on one model, by continuous batching over a paged cache."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable
from collections.abc import Sequence as SequenceOf
from copy import deepcopy
from typing import Any

from heron.engine.answer import Answer
from heron.engine.asking import Asking
from heron.engine.budget import Budget
from heron.engine.draft_model import DraftModel
from heron.engine.forecast import log_memory
from heron.engine.logprobs import PromptScores
from heron.engine.model import Model, Prompt
from heron.engine.prefix import CachedSequence, PrefixCache
from heron.engine.request import Deliver, Request, Work, checked
from heron.engine.sampling import SamplingParams
from heron.engine.scheduler import Scheduler
from heron.engine.speculate import DRAFT_TOKENS, Guesses, Speculate, Speculation
from heron.engine.statistics import Snapshot, doing
from heron.engine.steps import Steps
from heron.engine.vectors import Text
from heron.errors import BackendError, EngineClosed, QueueFull, RequestError, UnsupportedError
from heron.text.reasoning import Splitter


class Engine(Asking):
    """Requests in, tokens out. It takes the model's cache for itself; one thread of its own computes the steps.

    ``max_seqs`` requests are computed beside each other, others wait. ``kv_cache_size`` is the cache's size in tokens (0: room for
    ``max_seqs`` whole contexts, or as much of it as fits in half of the free memory). ``step_tokens`` bounds how much of
    prompts one step computes: more reads prompts faster, less lets others' answers come more evenly. With ``prefix_cache`` what
    prompts have in common is computed once. Where ``max_queue`` (0: any number) wait beside those that are computed, ``submit``
    raises QueueFull; ``request_timeout`` is how many seconds a request has, from ``submit`` to its end, before it gets
    RequestTimeout. An encoder's engine gives vectors alone.

    ``speculate`` is how tokens are guessed ahead unless a request says otherwise (off, ngram or draft), ``draft_tokens`` how many at
    a time; ``draft_model``, a small model of the same vocabulary, is what guesses where it is given. Answers stay the same.

    ``deterministic`` asks that an answer be the same, bit for bit, whatever else is computed beside it and however it is divided
    into steps. Raises UnsupportedError for a model that the backend does not compute so.
    """

    def __init__(
        self,
        model: Model,
        *,
        max_seqs: int = 16,
        kv_cache_size: int = 0,
        step_tokens: int = 256,
        prefix_cache: bool = True,
        max_queue: int = 0,
        request_timeout: float = math.inf,
        speculate: str | None = None,
        draft_tokens: int = DRAFT_TOKENS,
        draft_model: Model | None = None,
        deterministic: bool = False,
    ) -> None:
        for value, name, least in (
            (max_seqs, "max_seqs", 1),
            (step_tokens, "step_tokens", 1),
            (kv_cache_size, "kv_cache_size", 0),
            (max_queue, "max_queue", 0),
        ):
            checked(value, name, least)
        model.executable.wait()  # what memory is free is known then
        if deterministic and (ops := model.executable.batch_dependent):
            raise UnsupportedError(
                f"{model.checkpoint.path}: deterministic is asked for, but on the {model.backend} backend the last bits of "
                f"{', '.join(ops[:6])} depend on what else is in a step; use the native backend"
            )
        self.deterministic = deterministic
        self._speculate = Speculate(speculate or ("draft" if draft_model else "off"), draft_tokens)
        self.model, executable = model, model.executable
        budget = Budget(executable.memories, executable.state_groups, model.context_length, max_seqs, step_tokens)
        self.kv_tokens = kv_cache_size or budget.tokens_that_fit()
        self._draft = DraftModel(draft_model, model, self.kv_tokens, max_seqs, step_tokens) if draft_model else None
        units = budget.units(self.kv_tokens)
        budget.must_fit(self.kv_tokens, self._draft.bytes if self._draft else 0)
        model.lend()
        executable.allocate(units)
        log_memory(executable, model.backend, model.graph_model, model.options, units, max_seqs)
        self.cache = PrefixCache(executable.state_groups, units)
        self._prefix_cache = prefix_cache
        self.scheduler = Scheduler(self.cache, step_tokens, max_seqs)
        self._max_queue, self._request_timeout = max_queue, request_timeout
        self._steps = Steps(executable, self.scheduler, Speculation(self._draft), "encode" in model.graph_model.entries)
        self._changed = threading.Condition()
        self._arrived: list[Work] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def context_length(self) -> int:
        """Tokens that one request may have, its answer included."""
        return min(self.model.context_length, self.kv_tokens)

    # Requests

    def submit(
        self,
        prompt: Prompt,
        params: SamplingParams | None = None,
        *,
        priority: int = 0,
        deliver: Deliver | None = None,
        sample: int = 0,
        prompt_logprobs: int | None = None,
        continues: bool | None = None,
        speculate: str | None = None,
        draft_tokens: int | None = None,
        splitter: Splitter | None = None,
        **sampling: Any,
    ) -> Request:
        """Queue a request; its pieces come as they are generated (``for piece in request``, ``request.result()``).

        ``prompt`` and sampling parameters are those of ``Model.generate``. A lower ``priority`` is served first.
        ``sample`` counts the answers to one prompt with one seed: each has random numbers of its own.
        ``prompt_logprobs`` asks for each token of the prompt, and so many of the likeliest beside it, in ``request.scores``.
        ``continues`` says whether the prompt's text goes on, so that a leading space stays: unless it is a chat, if None.
        ``speculate`` and ``draft_tokens`` say how tokens are guessed ahead, in place of what the engine was told.
        ``splitter``, where the prompt has opened the reasoning, has a constraint begin where the reasoning ends.
        ``deliver``, called in the engine's thread, takes the pieces instead. Raises RequestError for a prompt that does not fit.
        """
        self.model.must_generate()
        params = (params or SamplingParams()).changed(**sampling)
        ids = self.model.encode(prompt)
        room = self.context_length
        if len(ids) >= room:
            raise RequestError(f"the prompt has {len(ids)} tokens, the context holds {room}; shorten it, or ask for a larger --ctx-size")
        start = self.model.graph_model.decoder_start
        tokens, source = (ids, []) if start is None else ([start], ids)
        if continues is None:
            continues = isinstance(prompt, str) or not isinstance(prompt[0], dict)
        answer = Answer(self.model.grammars, params, tokens, room - len(tokens), continues, sample, splitter)
        scores = None if prompt_logprobs is None else PromptScores(checked(prompt_logprobs, "prompt_logprobs", 0))
        sequence = CachedSequence(self.cache, self._prefix_cache and scores is None, len(source))  # what is cached has no logits
        guesses = self._guesses(speculate, draft_tokens, params.changed(seed=answer.seed), sample)
        request = Request(tokens=tokens, answer=answer, sequence=sequence, source=source, priority=priority, deliver=deliver)
        request.guesses, request.scores = guesses, scores
        request.timings.prompt_tokens = len(ids)
        self._arrive([request])
        return request

    def _guesses(self, kind: str | None, tokens: int | None, params: SamplingParams, sample: int) -> Guesses | None:
        default = self._speculate
        how = Speculate(default.kind if kind is None else kind, default.tokens if tokens is None else tokens)
        if how.kind == "draft" and self._draft is None:
            raise RequestError("this engine has no draft model; ask for speculate ngram or off", param="speculate")
        return Guesses(how, params, sample) if how.kind != "off" else None

    def _arrive(self, works: SequenceOf[Work]) -> None:
        with self._changed:
            if self._closed:
                raise EngineClosed("the engine is closed")
            held = len(self._arrived) + sum(1 for _ in self._steps.works())
            if self._max_queue and held >= self._max_queue + self.scheduler.max_seqs:
                waiting, retry_after = held - self.scheduler.max_seqs, held * self._steps.statistics.pace
                raise QueueFull(f"{waiting} requests wait already, and no more may; ask again later", retry_after)
            for work in works:
                work.deadline = work.arrived + self._request_timeout
            self._arrived += works
            self._changed.notify()

    def cancel(self, *requests: Work) -> None:
        """End requests at once, wherever they are; their readers see the end."""
        with self._changed:
            for request in requests:
                request.cancelled = True
            self._changed.notify()

    def submit_texts(self, texts: Iterable[Prompt], pooling: str | None, normalize: bool, truncate: bool, priority: int) -> list[Text]:
        embedder = self.model.embedder
        pooling, prompts = embedder.pooling(pooling), embedder.encode(texts, truncate)
        long = max(map(len, prompts), default=0)
        if long > self.kv_tokens and "encode" not in self.model.graph_model.entries:
            have = self.kv_tokens
            raise RequestError(f"a text has {long} tokens, the cache holds {have}; shorten it, or ask for a larger --kv-cache-size")
        wanted = [
            Text(tokens=ids, sequence=CachedSequence(self.cache, False), pooling=pooling, normalize=normalize, priority=priority)
            for ids in prompts
        ]
        self._arrive(wanted)
        return wanted

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
                while not (self._closed or self._arrived or self._steps.busy()):
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
        for work in [*arrived, *self._steps.works()]:
            self._steps.end(work, reason, error)

    def step(self) -> bool:
        """Compute one step; whether there was anything to compute. For callers that never ``start`` a thread."""
        with self._changed:
            arrived, self._arrived = self._arrived, []
        for work in arrived:
            self._steps.add(work)
        self._steps.end_overdue()
        return self._steps.compute()

    def snapshot(self) -> Snapshot:
        """What it is doing and what it has done; from any thread, at any time."""
        waiting, running, arrived = self._steps.waiting(), list(self.scheduler.running), list(self._arrived)
        return Snapshot(
            waiting=tuple(doing(work, False) for work in [*waiting, *arrived]),
            running=tuple(doing(work, True) for work in running),
            units={name: (self.cache.in_use(name), self.cache.total(name)) for name in self.cache.groups},
            preemptions=self.scheduler.preemptions,
            statistics=deepcopy(self._steps.statistics),
        )

    def cached_tokens(self, tokens: list[int]) -> int:
        """How much of a prompt the prefix cache would serve now; from any thread, at any time. The cache stays as it is."""
        return CachedSequence(self.cache, self._prefix_cache).foresee(tokens)

    def close(self) -> None:
        """End all requests and the thread. The model goes on with a cache of its own."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
        self._end_all("cancelled", EngineClosed("the engine was closed"))
        self._steps.land()  # before what it computes in goes
        self.model.allocate()
        if self._draft is not None:
            self._draft.close()

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
