"""Which tokens of which requests the next step computes.

Requests are served in order of priority, then of arrival. A step holds a token of each request that decodes, and pieces of
prompts up to a budget. When blocks run out, the last request in order gives its own back and waits again; its tokens are
computed anew when it has its turn (what the prefix cache still holds of them is not).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass

from heron.engine.cache import units_for
from heron.engine.prefix import Key, PrefixCache
from heron.engine.request import Work


@dataclass(slots=True)
class Part:
    """Tokens of one request in a step. ``last``: they are all it has, so that the next one can be chosen after them.

    The last ``drafts`` of ``tokens`` are guesses at what comes next. ``scored`` are those whose logits score the prompt's next token.
    """

    request: Work
    tokens: list[int]
    last: bool
    drafts: int = 0
    scored: range = range(0)


class Scheduler:
    """``step_tokens`` bounds the prompts' part of a step, ``max_seqs`` the requests that have a place in the cache."""

    def __init__(self, cache: PrefixCache, step_tokens: int, max_seqs: int) -> None:
        self.cache, self.step_tokens, self.max_seqs = cache, step_tokens, max_seqs
        self.waiting: list[Work] = []
        self.running: list[Work] = []
        self.preemptions = 0
        self._stuck: list[Work] = []

    def add(self, request: Work) -> None:
        request.sequence.announce(request.tokens)
        insort(self.waiting, request, key=lambda r: r.order)

    def remove(self, request: Work) -> None:
        """Forget a request that ended, and take back what it holds."""
        for requests in (self.waiting, self.running):
            if request in requests:
                requests.remove(request)
        request.sequence.release()

    def plan(self, patient: bool = False) -> list[Part] | None:
        """The parts of the next step, none where nobody has anything to compute. Their places in the cache are free.

        None, if ``patient``, where somebody would have to give way: who ends with the step under way makes room.
        """
        parts: list[Part] = []
        taken = dict.fromkeys(self.cache.groups, 0)
        budget = self.step_tokens
        preempted = self.preemptions
        for request in list(self.running):
            left = request.left
            count = 1 if len(left) == 1 else min(len(left), budget)
            if request in self.running and count:
                drafts = self._with_drafts(request, left, budget, taken)
                room = drafts or self._take(request, count, taken)
                if patient and not room:
                    return None
                if room or self._make_room(request, count, taken):
                    parts.append(self._part(request, left, count, drafts))
                    budget -= count if len(left) > 1 else len(drafts)
        if preempted == self.preemptions:
            self._admit(parts, budget, taken)
        return parts

    def take_stuck(self) -> list[Work]:
        """Those that the whole cache has no room for, seen while planning; they are to be removed."""
        stuck, self._stuck = self._stuck, []
        return stuck

    def _with_drafts(self, request: Work, left: list[int], most: int, taken: dict[str, int]) -> list[int]:
        """The drafts that are checked with the one token left, if there is room for all of them: nobody gives way to drafts."""
        drafts = request.drafts[:most] if len(left) == 1 else []
        return drafts if drafts and self._take(request, 1 + len(drafts), taken, len(drafts)) else []

    @staticmethod
    def _part(request: Work, left: list[int], count: int, drafts: Sequence[int] = ()) -> Part:
        return Part(request, [*left[:count], *drafts], count == len(left), len(drafts), request.scored(count))

    def _take(self, request: Work, count: int, taken: dict[str, int], drafts: int = 0) -> bool:
        """Take room for so many more tokens, beside what the step's other parts have taken, if the cache has it."""
        needs = self._needs(request, count, drafts)
        if fits := self._fits(needs, taken):
            for name, units in needs.items():
                taken[name] += units
        return fits

    def _fits(self, needs: dict[str, int], taken: dict[str, int]) -> bool:
        return all(not units or taken[name] + units <= self.cache.available(name) for name, units in needs.items())

    def _needs(self, request: Work, count: int, drafts: int = 0) -> dict[str, int]:
        needs = request.sequence.needs(count, drafts)
        after = len(request.sequence.tokens) + count
        for name in needs:
            if self.cache.groups[name].window:  # at a time: a window's blocks are given back
                needs[name] = min(needs[name], units_for(self.cache.groups[name], after, self.step_tokens))
        return needs

    def _make_room(self, request: Work, count: int, taken: dict[str, int]) -> bool:
        """Preempt requests from the last one on until there is room; False where the turn came to this one."""
        while True:
            last = self.running[-1]
            if len(self.running) == 1:
                self._stuck.append(last)
                return False
            self._preempt(last)
            if last is request:
                return False
            if self._take(request, count, taken):
                return True

    def _preempt(self, request: Work) -> None:
        self.running.remove(request)
        request.sequence.release()
        request.preemptions += 1
        self.preemptions += 1
        self.add(request)

    def _admit(self, parts: list[Part], budget: int, taken: dict[str, int]) -> None:
        """Let waiting requests begin, while there is room. One whose prefix is being computed waits for it; others may pass."""
        coming = self._coming()
        for request in list(self.waiting):
            if budget <= 0 or len(self.running) == self.max_seqs:
                return
            sequence = request.sequence
            found = sequence.adopt(request.tokens)
            keys = sequence.keys(request.tokens)[: (len(request.tokens) - 1) // max(1, sequence.block_size)]
            at = found // max(1, sequence.block_size)
            later = keys[at:] if sequence.recurrent else keys[at : at + 1]  # a state may be kept further on alone
            if not coming.isdisjoint(later):
                sequence.release()
                continue
            left = request.left
            count = min(len(left), budget)
            # All of it, so that it need not give way to itself; but whoever is alone will have all the room there is.
            if not self._fits(self._needs(request, len(left) if self.running else count), taken) or not self._take(request, count, taken):
                sequence.release()
                if not self.running:
                    self._stuck.append(request)
                    continue
                return
            self.waiting.remove(request)
            insort(self.running, request, key=lambda r: r.order)
            request.timings.cached_tokens = found if not request.preemptions else request.timings.cached_tokens
            coming.update(keys[at:])
            parts.append(self._part(request, left, count))
            budget -= count

    def _coming(self) -> set[Key]:
        """The names of the blocks of running requests' prompts that are not there yet."""
        coming: set[Key] = set()
        for request in self.running:
            sequence = request.sequence
            if sequence.reusable and sequence.published < request.prompt_length // sequence.block_size:
                coming.update(sequence.keys(request.tokens)[sequence.published :])
        return coming
