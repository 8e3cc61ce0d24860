"""How much cache an engine takes: units of each group for so many tokens and sequences, within the free memory."""

from __future__ import annotations

from dataclasses import dataclass

from heron.backends.base import StateGroup
from heron.engine.cache import units_for
from heron.engine.memory import available_bytes
from heron.engine.model import CONTEXT_SHARE
from heron.errors import RequestError

#: Slots of recurrent states for each sequence, beside its own, and the part of the free memory that they may take.
SPARE_SLOTS = 4
SPARE_SHARE = 0.1


@dataclass(frozen=True)
class Budget:
    """For ``max_seqs`` sequences of up to ``context`` tokens, in steps of up to ``step_tokens`` of a prompt.

    Recurrent states are kept for later prompts, and after each draft, in slots beside the sequences' own: SPARE_SLOTS for each, if
    a share of the free memory holds so many.
    """

    groups: tuple[StateGroup, ...]
    context: int
    max_seqs: int
    step_tokens: int
    device_bytes: int | None = None  #: what the device that holds them can still give; None where it is the machine's memory

    @property
    def _free(self) -> int:
        return available_bytes() if self.device_bytes is None else self.device_bytes

    def units(self, tokens: int) -> dict[str, int]:
        """Units of each group, the null unit included, for so many tokens of all sequences together."""
        return {group.name: self._units(group, tokens) for group in self.groups}

    def _units(self, group: StateGroup, tokens: int) -> int:
        """A window never needs more than its own of each sequence."""
        if group.kind == "slot":
            spare = int(SPARE_SHARE * self._free) // max(1, group.unit_bytes)
            return 1 + self.max_seqs + max(1, min(SPARE_SLOTS * self.max_seqs, spare))
        alone = units_for(group, min(tokens, self.context), self.step_tokens) - 1
        return 1 + min(-(-tokens // group.block_size) + 2, alone * self.max_seqs)

    def bytes(self, tokens: int) -> int:
        return sum(self._units(group, tokens) * group.unit_bytes for group in self.groups)

    def tokens_that_fit(self) -> int:
        """Tokens of all sequences' whole contexts, or as many as fit in a share of the free memory; a context at least."""
        tokens = self.max_seqs * self.context
        while tokens > self.context and self.bytes(tokens) > CONTEXT_SHARE * self._free:
            tokens = max(self.context, tokens // 2)
        return tokens

    def must_fit(self, tokens: int, others: int = 0) -> None:
        """Raises RequestError for more than the free memory holds beside ``others`` bytes."""
        need, have = self.bytes(tokens), max(0, self._free - others)
        if need > have:
            asked = f"a cache of {tokens} tokens for {self.max_seqs} sequences needs {need / 2**30:.1f} GiB"
            smaller = "ask for a smaller --kv-cache-size, or for fewer sequences (--max-seqs)"
            raise RequestError(f"{asked} and {have / 2**30:.1f} are free; {smaller}")
