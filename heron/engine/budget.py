"""How much cache an engine takes: units of each group for so many tokens and sequences, within the free memory."""

from __future__ import annotations

from dataclasses import dataclass

from heron.backends.base import Memory, StateGroup
from heron.engine.cache import units_for
from heron.engine.memory import Demand, demands
from heron.engine.model import CONTEXT_SHARE
from heron.errors import NoRoom

#: Slots of recurrent states for each sequence, beside its own, and the part of the free memory that they may take.
SPARE_SLOTS = 4
SPARE_SHARE = 0.1


@dataclass(frozen=True)
class Budget:
    """For ``max_seqs`` sequences of up to ``context`` tokens, in steps of up to ``step_tokens`` of a prompt.

    Recurrent states are kept for later prompts, and after each draft, in slots beside the sequences' own: SPARE_SLOTS for each, if
    a share of the free memory holds so many.
    """

    memories: tuple[Memory, ...]  #: where the states are (Executable.memories)
    groups: tuple[StateGroup, ...]
    context: int
    max_seqs: int
    step_tokens: int

    def units(self, tokens: int) -> dict[str, int]:
        """Units of each group, the null unit included, for so many tokens of all sequences together."""
        return {group.name: self._units(group, tokens) for group in self.groups}

    def _units(self, group: StateGroup, tokens: int) -> int:
        """A window never needs more than its own of each sequence."""
        if group.kind == "slot":
            one = demands(self.memories, {g.name: int(g.name == group.name) for g in self.groups})
            spare = min((int(SPARE_SHARE * each.have) // each.need for each in one if each.need), default=0)
            return 1 + self.max_seqs + max(1, min(SPARE_SLOTS * self.max_seqs, spare))
        alone = units_for(group, min(tokens, self.context), self.step_tokens) - 1
        return 1 + min(-(-tokens // group.block_size) + 2, alone * self.max_seqs)

    def bytes(self, tokens: int) -> int:
        return sum(self._units(group, tokens) * group.unit_bytes for group in self.groups)

    def tokens_that_fit(self) -> int:
        """Tokens of all sequences' whole contexts, or as many as fit in a share of the free memory; a context at least."""
        tokens = self.max_seqs * self.context
        while tokens > self.context and any(d.need > CONTEXT_SHARE * d.have for d in self._demands(tokens)):
            tokens = max(self.context, tokens // 2)
        return tokens

    def must_fit(self, tokens: int, others: int = 0) -> None:
        """Raises NoRoom for more than a memory holds beside ``others`` bytes."""
        for demand in self._demands(tokens):
            need, have = demand.need, max(0, demand.have - others)
            if need > have:
                asked = f"a cache of {tokens} tokens for {self.max_seqs} sequences needs {need / 2**30:.1f} GiB"
                smaller = "ask for a smaller --kv-cache-size, or for fewer sequences (--max-seqs)"
                raise NoRoom(f"{asked} and {have / 2**30:.1f} are free; {smaller}")

    def _demands(self, tokens: int) -> list[Demand]:
        return demands(self.memories, self.units(tokens))
