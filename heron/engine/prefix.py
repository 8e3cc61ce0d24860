"""The prefix cache: blocks of prompts that were computed serve later prompts that begin alike.

A full block is named by its tokens and all before them (a chain of hashes), so that one name is one prefix. Blocks that no
sequence holds keep their contents until their place is needed; the longest unused goes first.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from heron.backends.base import StateGroup
from heron.engine.cache import Cache, Sequence

Key = bytes


class PrefixCache(Cache):
    """A Cache whose blocks may have several owners, or a name and none."""

    def __init__(self, groups: Iterable[StateGroup], units: Mapping[str, int]) -> None:
        super().__init__(groups, units)
        self._owners = {name: [0] * units[name] for name in self.groups}
        self._key_of: dict[str, dict[int, Key]] = {name: {} for name in self.groups}
        self._named: dict[str, dict[Key, int]] = {name: {} for name in self.groups}
        self._idle: dict[str, OrderedDict[int, None]] = {name: OrderedDict() for name in self.groups}

    def take(self, group: str) -> int:
        if not self._free[group] and self._idle[group]:
            unit, _ = self._idle[group].popitem(last=False)
            del self._named[group][self._key_of[group].pop(unit)]
            self._free[group].append(unit)
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

    def available(self, group: str) -> int:
        """Units that ``take`` can still give."""
        return len(self._free[group]) + len(self._idle[group])

    def in_use(self, group: str) -> int:
        """Units that sequences hold."""
        return self.total(group) - self.available(group)

    def total(self, group: str) -> int:
        """Units that sequences can hold, all together."""
        return len(self._owners[group]) - 1

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


class CachedSequence(Sequence):
    """A Sequence that takes what it can from the prefix cache, and leaves what it computed there."""

    cache: PrefixCache

    def __init__(self, cache: PrefixCache, enabled: bool = True, source_length: int = 0) -> None:
        """``source_length`` is that of what an encoder will read for it."""
        super().__init__(cache)
        self._awaited = source_length
        sizes = {cache.groups[name].block_size for name in self._blocks}
        # Recurrent states are not kept block by block, and what a decoder read of a source is not in its tokens.
        self.reusable = enabled and len(sizes) == 1 and not self._slot and not self._cross
        self.block_size = sizes.pop() if len(sizes) == 1 else 0
        self._keys: list[Key] = []
        self._published = 0

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

    def adopt(self, tokens: list[int]) -> int:
        """Begin with the longest prefix of ``tokens`` that is cached; return its length. At least one token is left to compute."""
        keys = self.keys(tokens)
        count = self._found(keys[: (len(tokens) - 1) // self.block_size] if keys else [])
        for name, blocks in self._blocks.items():
            self._start[name] = self._first_seen(name, count)
            blocks += [self.cache.share(name, key) for key in keys[self._start[name] : count]]
        self._published = count
        self.tokens = tokens[: count * self.block_size]
        return len(self.tokens)

    def _first_seen(self, group: str, count: int) -> int:
        """The first block that a token after ``count`` blocks can see."""
        window = self.cache.groups[group].window
        return max(0, count * self.block_size - window + 1) // self.block_size if window else 0

    def _found(self, keys: list[Key]) -> int:
        for count in range(len(keys), 0, -1):
            if all(self.cache.holds(name, key) for name in self._blocks for key in keys[self._first_seen(name, count) : count]):
                return count
        return 0

    def publish(self) -> None:
        """Name the blocks that are full now."""
        keys = self.keys(self.tokens)
        for name, blocks in self._blocks.items():
            for at in range(max(self._published, self._start[name]), len(keys)):
                self.cache.publish(name, blocks[at - self._start[name]], keys[at])
        self._published = len(keys)

    def needs(self, count: int) -> dict[str, int]:
        """Units of each group that ``count`` more tokens take."""
        after = len(self.tokens) + count
        needed = {n: max(0, -(-after // self.cache.groups[n].block_size) - self._start[n] - len(b)) for n, b in self._blocks.items()}
        read = {n: 0 if blocks else -(-self._awaited // self.cache.groups[n].block_size) for n, blocks in self._cross.items()}
        return needed | read | {name: int(slot == 0) for name, slot in self._slot.items()}

    def release(self) -> None:
        """Give everything back, and begin anew."""
        self._truncate(0)
        for name, slot in self._slot.items():
            self.cache.give(name, [slot] if slot else [])
            self._slot[name] = 0
        for name, blocks in self._cross.items():
            self.cache.give(name, blocks)
            blocks.clear()
        self._keys, self._published = [], 0
