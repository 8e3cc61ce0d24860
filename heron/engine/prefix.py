"""The prefix cache: blocks of prompts that were computed serve later prompts that begin alike.

A full block is named by its tokens and all before them (a chain of hashes), so that one name is one prefix. Blocks that no
sequence holds keep their contents until their place is needed; the longest unused goes first. A recurrent state is kept as a
whole, in a slot of its own, by the name of the block that it follows: at the end of a prompt, at intervals, in an answer, and
where prompts were seen to part. A prompt begins where all groups have what it needs.
"""

from __future__ import annotations

import hashlib
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from heron.backends.base import StateGroup
from heron.engine.cache import Cache, Sequence

Key = bytes

#: Tokens from one kept state of a prompt to the next.
PROMPT_INTERVAL = 1024

#: Tokens from one kept state of an answer to the next, which takes its place.
ANSWER_INTERVAL = 64

#: Names of blocks that are remembered, to see where prompts part.
MOST_SEEN = 1 << 16


class PrefixCache(Cache):
    """A Cache whose blocks may have several owners, or a name and none."""

    def __init__(self, groups: Iterable[StateGroup], units: Mapping[str, int]) -> None:
        super().__init__(groups, units)
        self._owners = {name: [0] * units[name] for name in self.groups}
        self._key_of: dict[str, dict[int, Key]] = {name: {} for name in self.groups}
        self._named: dict[str, dict[Key, int]] = {name: {} for name in self.groups}
        self._idle: dict[str, OrderedDict[int, None]] = {name: OrderedDict() for name in self.groups}
        self._seen: OrderedDict[Key, None] = OrderedDict()
        self._partings: OrderedDict[Key, None] = OrderedDict()

    def take(self, group: str) -> int:
        if not self._free[group] and self._idle[group]:
            unit, _ = self._idle[group].popitem(last=False)
            self._forget(group, unit)
        unit = super().take(group)
        self._owners[group][unit] = 1
        return unit

    def give(self, group: str, units: Iterable[int]) -> None:
        for unit in reversed(list(units)):  # the end of a prefix is worth least: it goes first
            self._owners[group][unit] -= 1
            if self._owners[group][unit]:
                continue
            if unit in self._key_of[group]:
                self._idle[group][unit] = None
            else:
                self._free[group].append(unit)

    def _forget(self, group: str, unit: int) -> None:
        del self._named[group][self._key_of[group].pop(unit)]
        self._free[group].append(unit)

    def drop(self, group: str, key: Key) -> None:
        """Let a name go, if no sequence holds its unit."""
        unit = self._named[group].get(key)
        if unit is not None and unit in self._idle[group]:
            del self._idle[group][unit]
            self._forget(group, unit)

    def available(self, group: str) -> int:
        """Units that ``take`` can still give."""
        return len(self._free[group]) + len(self._idle[group])

    def in_use(self, group: str) -> int:
        """Units that sequences hold."""
        return self.total(group) - self.available(group)

    def total(self, group: str) -> int:
        """Units that sequences can hold, all together."""
        return len(self._owners[group]) - 1

    def forget(self) -> None:
        """Let all names go: what is in the blocks cannot be relied on."""
        for name, idle in self._idle.items():
            self._free[name] += idle
            for table in (idle, self._key_of[name], self._named[name]):
                table.clear()

    def holds(self, group: str, key: Key) -> bool:
        return key in self._named[group]

    def share(self, group: str, key: Key) -> int:
        """The block of this name, with one owner more."""
        unit = self._named[group][key]
        self._idle[group].pop(unit, None)
        self._owners[group][unit] += 1
        return unit

    def publish(self, group: str, unit: int, key: Key) -> None:
        """Name a block that is full. Where another has the name already, that one keeps it."""
        if key not in self._named[group]:
            self._named[group][key] = unit
            self._key_of[group][unit] = key

    def see(self, keys: list[Key]) -> None:
        """Remember the blocks of a prompt that has come, and where it parts from those before it."""
        known = next((at for at, key in enumerate(keys) if key not in self._seen), len(keys))
        _remember(self._seen, keys)
        _remember(self._partings, keys[:known][-1:])

    def part_at(self, key: Key) -> bool:
        """Whether prompts were seen to part after this block."""
        return key in self._partings


def _remember(names: OrderedDict[Key, None], new: Iterable[Key]) -> None:
    for key in new:
        names[key] = None
        names.move_to_end(key)
    while len(names) > MOST_SEEN:
        names.popitem(last=False)


class CachedSequence(Sequence):
    """A Sequence that takes what it can from the prefix cache, and leaves what it computed there."""

    cache: PrefixCache

    def __init__(self, cache: PrefixCache, enabled: bool = True, source_length: int = 0) -> None:
        """``source_length`` is that of what an encoder will read for it."""
        super().__init__(cache)
        self._awaited = source_length
        sizes = {cache.groups[name].block_size for name in self._blocks} or {g.block_size for g in cache.groups.values()}
        self.reusable = enabled and len(sizes) == 1 and not self._cross  # what a decoder read of a source is not in its tokens
        self.block_size = sizes.pop() if len(sizes) == 1 else 0
        self._keys: list[Key] = []
        self._published = 0
        self._lent = False  # the slot is the prefix cache's: it is read, and another one written
        self._prompt_length = 0
        self._last_kept: Key | None = None  # of the answer

    def keys(self, tokens: list[int]) -> list[Key]:
        """The names of the full blocks of ``tokens``, which may go on from those asked for before."""
        if not self.reusable:
            return []
        size = self.block_size
        full = len(tokens) // size
        while len(self._keys) < full:
            at = len(self._keys) * size
            before = self._keys[-1] if self._keys else b""
            self._keys.append(hashlib.blake2b(before + np.asarray(tokens[at : at + size], "<i8").tobytes(), digest_size=16).digest())
        return self._keys[:full]

    # Beginning with what is there

    def adopt(self, tokens: list[int]) -> int:
        """Begin with the longest prefix of ``tokens`` that is cached; return its length. At least one token is left to compute."""
        keys = self._sought(tokens)
        count = self._found(keys)
        for name, blocks in self._blocks.items():
            self._start[name] = self._first_seen(name, count)
            blocks += [self.cache.share(name, key) for key in keys[self._start[name] : count]]
        if self.recurrent and count:
            self._slot, self._lent = self.cache.share(self.recurrent, keys[count - 1]), True
        self._published, self._prompt_length = count, len(tokens)
        self.tokens = tokens[: count * self.block_size]
        return len(self.tokens)

    def foresee(self, tokens: list[int]) -> int:
        """What ``adopt`` would return now. Nothing is taken, and nothing becomes less likely to go; any thread may ask at any time."""
        return self._found(self._sought(tokens)) * self.block_size

    def _sought(self, tokens: list[int]) -> list[Key]:
        return self.keys(tokens)[: (len(tokens) - 1) // self.block_size] if self.reusable else []

    def _first_seen(self, group: str, count: int) -> int:
        """The first block that a token after ``count`` blocks can see."""
        window = self.cache.groups[group].window
        return max(0, count * self.block_size - window + 1) // self.block_size if window else 0

    def _found(self, keys: list[Key]) -> int:
        holds, whole = self.cache.holds, [name for name in self._blocks if not self.cache.groups[name].window]
        longest = next((at for at, key in enumerate(keys) if not all(holds(name, key) for name in whole)), len(keys))
        for count in range(longest, 0, -1):
            if self.recurrent and not holds(self.recurrent, keys[count - 1]):
                continue
            if all(holds(name, key) for name in self._blocks if name not in whole for key in keys[self._first_seen(name, count) : count]):
                return count
        return 0

    # Recurrent states

    def announce(self, tokens: list[int]) -> None:
        """Say which prompt has come, so that whoever computes what others have in common with it keeps the state there."""
        if self.recurrent and self.reusable:
            self.cache.see(self.keys(tokens)[: (len(tokens) - 1) // self.block_size])

    def _snapshots(self, before: int) -> list[int]:
        return [at for at in range(before + 1, len(self.tokens) + 1) if self._worth_keeping(at)] if self.recurrent else []

    def _worth_keeping(self, length: int) -> bool:
        """Whether the state after so many tokens may serve another prompt: where one ends or parts, and here and there."""
        size, prompt = self.block_size, self._prompt_length
        if not self.reusable or length % size:
            return False
        if length >= prompt:
            return length % (ANSWER_INTERVAL // size * size) == 0
        parts = self.cache.part_at(self._keys[length // size - 1])
        return parts or length == (prompt - 1) // size * size or length % (PROMPT_INTERVAL // size * size) == 0

    def _own_slot(self) -> int:
        if not self._lent:
            return super()._own_slot()
        lent, self._slot, self._lent = self._slot, self.cache.take(self.recurrent), False
        self.cache.give(self.recurrent, [lent])
        return self._slot

    def _keep(self, length: int, slot: int) -> None:
        """Name a slot that holds the state after ``length`` tokens. Of an answer the last one is enough."""
        key = self._keys[length // self.block_size - 1]
        self.cache.publish(self.recurrent, slot, key)
        if length >= self._prompt_length:
            if self._last_kept is not None:
                self.cache.drop(self.recurrent, self._last_kept)
            self._last_kept = key

    # After a step

    def settle(self, rejected: int = 0, running: int = 0) -> None:
        """Forget the last tokens, drafts that were rejected, and name what is full now; the last ``running`` are of a step under way."""
        if rejected:
            self._take_back(rejected)
        done = len(self.tokens) - running
        if self.reusable and done // self.block_size > self._published:
            self._publish(self.keys(self.tokens[:done]))
        if not self._saved:
            return
        for length, slot in sorted(self._saved.items()):
            if 0 < length <= done and self._worth_keeping(length):
                self._keep(length, slot)
        self._give_saved(done if running else math.inf)

    def _give_back(self, name: str, first: int) -> None:
        """Name the blocks before, if they were computed by a step that is still under way."""
        if self.reusable and first > self._published:
            keys = self.keys(self.tokens[: first * self.block_size])
            for at in range(max(self._published, self._start[name]), first):
                self.cache.publish(name, self._blocks[name][at - self._start[name]], keys[at])
        super()._give_back(name, first)

    def _publish(self, keys: list[Key]) -> None:
        for name, blocks in self._blocks.items():
            for at in range(max(self._published, self._start[name]), len(keys)):
                self.cache.publish(name, blocks[at - self._start[name]], keys[at])
        self._published = len(keys)

    @property
    def published(self) -> int:
        """Blocks from the beginning on that others can find."""
        return self._published

    def needs(self, count: int, drafts: int = 0) -> dict[str, int]:
        """Units of each group that ``count`` more tokens take, the last ``drafts`` of which may be taken back."""
        after, needed = len(self.tokens) + count, {}
        for name, blocks in self._blocks.items():
            needed[name] = max(0, -(-after // self.cache.groups[name].block_size) - self._start[name] - len(blocks))
        for name, blocks in self._cross.items():
            needed[name] = 0 if blocks else -(-self._awaited // self.cache.groups[name].block_size)
        if self.recurrent:
            needed[self.recurrent] = int(self._lent or not self._slot) + drafts
        return needed

    def release(self) -> None:
        """Give everything back, and begin anew."""
        self._truncate(0)
        self._give_saved()
        if self._slot:
            self.cache.give(self.recurrent, [self._slot])
        self._slot, self._lent = 0, False
        for name, blocks in self._cross.items():
            self.cache.give(name, blocks)
            blocks.clear()
        self._published = 0
