"""A small model that guesses what a large one of the same vocabulary will say."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from heron.backends.base import Result
from heron.engine.budget import Budget
from heron.engine.cache import Span, next_step, units_for
from heron.engine.model import Model
from heron.engine.prefix import CachedSequence, PrefixCache
from heron.engine.request import Request
from heron.engine.sampler import Sampler, make_sampler
from heron.errors import HeronError, RequestError

#: What depends on the tokens before, which a guess leaves out: it costs no exactness.
_PLAIN = {
    **{"repeat_penalty": 1.0, "frequency_penalty": 0.0, "presence_penalty": 0.0, "dry_multiplier": 0.0, "mirostat": 0},
    **{"constraint": None, "bad_words": (), "min_tokens": 0, "top_logprobs": 0},
}


@dataclass
class _Guessing:
    """One request's place in the draft model's cache; the first ``certain`` tokens there are no guesses."""

    sequence: CachedSequence
    sampler: Sampler
    certain: int = 0


class DraftModel:
    """Guesses for many requests in one step each, with a cache of its own that it takes of the model for as long as it lives."""

    def __init__(self, model: Model, target: Model, tokens: int, max_seqs: int, step_tokens: int) -> None:
        model.must_generate()
        self._check(model, target)
        self.model, self._executable, self._step_tokens = model, model.executable, step_tokens
        context = min(model.context_length, target.context_length)
        budget = Budget(self._executable.memories, self._executable.state_groups, context, max_seqs, step_tokens)
        tokens = min(tokens, max_seqs * context)
        budget.must_fit(tokens)
        units, self.bytes = budget.units(tokens), budget.bytes(tokens)
        model.lend()
        self._executable.allocate(units)
        self.cache = PrefixCache(self._executable.state_groups, units)
        self._of: dict[Request, _Guessing] = {}
        self._vocab, self._ends = target.graph_model.vocab_size, model.tokenizer.eos_ids

    @staticmethod
    def _check(model: Model, target: Model) -> None:
        name, of = model.checkpoint.path, target.checkpoint.path
        if model is target:
            raise RequestError(f"{name} cannot guess for itself; load it a second time, or name a smaller model")
        if not model.tokenizer.agrees_with(target.tokenizer):
            raise RequestError(f"the draft model {name} has another vocabulary than {of}; take one of the same family")
        for each in (model, target):
            if each.graph_model.decoder_start is not None:
                raise RequestError(f"{each.checkpoint.path} has an encoder: a draft model can neither be one nor guess for one")

    def guess(self, asked: Mapping[Request, int]) -> None:
        """Put up to so many guesses into the ``drafts`` of each request. What fails here is only missed."""
        try:
            ready = self._read([request for request in asked if len(request.tokens) + asked[request] < self.model.context_length])
            count = 1
            while ready := [request for request in ready if asked[request] > count]:
                ready = self._go_on(ready)
                count += 1
        except HeronError as error:
            warnings.warn(f"the draft model failed: {error}", stacklevel=2)
            for request in asked:
                request.drafts = []
                self.forget(request)

    def forget(self, request: Request) -> None:
        """Let go of what is held for a request."""
        if guessing := self._of.pop(request, None):
            guessing.sequence.release()

    def close(self) -> None:
        """Give the cache back to the model."""
        self.model.allocate()

    def _read(self, requests: list[Request]) -> list[Request]:
        """Take in what requests have said since; those that it has all of have a first guess, and are returned."""
        spans: dict[Request, Span] = {}
        taken: dict[str, int] = {}
        budget = self._step_tokens
        for request in requests:
            sequence = self._settled(request).sequence
            left = request.tokens[len(sequence.tokens) :][:budget]
            if left and self._fits(request, len(left), 0, taken):
                rows = [len(left) - 1] if len(sequence.tokens) + len(left) == len(request.tokens) else []
                spans[request] = Span(sequence, left, rows)
                budget -= len(left)
        result = self._run(spans)
        for request in spans:
            guessing = self._of[request]
            guessing.sequence.settle()
            guessing.certain = len(guessing.sequence.tokens)
        return self._take([request for request, span in spans.items() if span.rows], result) if result else []

    def _go_on(self, requests: list[Request]) -> list[Request]:
        """Another guess for each, after its last one. Where there is no room, the guesses end."""
        taken: dict[str, int] = {}
        spans = {r: Span(self._of[r].sequence, r.drafts[-1:], (0,), drafts=1) for r in requests if self._fits(r, 1, 1, taken)}
        result = self._run(spans)
        return self._take(list(spans), result) if result else []

    def _settled(self, request: Request) -> _Guessing:
        """The request's place, in which guesses that were wrong are forgotten."""
        if request not in self._of:
            chances = request.guesses
            assert chances is not None
            params = chances.params.changed(**_PLAIN)
            sampler = make_sampler(params, chances.sample, self.model.grammars.rules.of(params))
            self._of[request] = _Guessing(CachedSequence(self.cache), sampler)
        guessing = self._of[request]
        sequence, right = guessing.sequence, guessing.certain
        while right < min(len(sequence.tokens), len(request.tokens)) and sequence.tokens[right] == request.tokens[right]:
            right += 1
        sequence.settle(len(sequence.tokens) - right)
        if not sequence.tokens:
            guessing.certain = sequence.adopt(request.tokens)
        return guessing

    def _fits(self, request: Request, count: int, drafts: int, taken: dict[str, int]) -> bool:
        """Whether there is room for more tokens of a request beside what others take, which is then taken too."""
        sequence = self._of[request].sequence
        needs = sequence.needs(count, drafts)
        for name, units in needs.items():
            group = self.cache.groups[name]
            if group.window:
                needs[name] = min(units, units_for(group, len(sequence.tokens) + count, self._step_tokens))
            if taken.get(name, 0) + needs[name] > self.cache.available(name):
                return False
        for name, units in needs.items():
            taken[name] = taken.get(name, 0) + units
        return True

    def _run(self, spans: Mapping[Request, Span]) -> Result | None:
        return self._executable.run("forward", next_step(list(spans.values()))) if spans else None

    def _take(self, requests: list[Request], result: Result) -> list[Request]:
        """Choose guesses by rows of logits; those are returned that may go on."""
        going_on = []
        for request, logits, damaged in zip(requests, np.asarray(result["logits"]), result.nonfinite, strict=True):
            if damaged:
                continue
            token = self._of[request].sampler.sample(logits, len(request.tokens) + len(request.drafts)).token
            if token < self._vocab:
                request.drafts.append(token)
                if token not in self._ends:
                    going_on.append(request)
        return going_on
