"""The grids that indexes of the formats IQ1, IQ2 and IQ3 point into, read from codebooks.inc, which the core compiles too."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_GRID = re.compile(r"HERON_GRID\((\w+), (\d), (\d), LEVELS\(([^)]*)\),([^)]*)\)")


@cache
def grid(name: str) -> NDArray[np.int8]:
    """The values [entries, 4 or 8] of a format's grid; all of IQ2's and IQ3's are positive, their signs are stored apart."""
    return _grids()[name]


@cache
def _grids() -> dict[str, NDArray[np.int8]]:
    text = Path(__file__).with_name("codebooks.inc").read_text(encoding="ascii")
    return {name: _expanded(int(values), int(bits), levels, words) for name, values, bits, levels, words in _GRID.findall(text)}


def _expanded(values: int, bits: int, levels: str, words: str) -> NDArray[np.int8]:
    packed = np.array([int(word, 16) for word in words.split(",")], np.uint16)
    numbers = packed[:, None] >> np.arange(0, values * bits, bits, dtype=np.uint16) & np.uint16((1 << bits) - 1)
    expanded = np.array(levels.split(","), np.int8)[numbers]
    expanded.flags.writeable = False
    return expanded


@cache
def even_signs() -> NDArray[np.uint8]:
    """Eight signs [128] from seven bits: the eighth is set where it makes the number of minus signs even."""
    seven = np.arange(128, dtype=np.uint8)
    odd = np.unpackbits(seven[:, None], axis=1).sum(axis=1, dtype=np.uint8) & np.uint8(1)
    return seven | odd << np.uint8(7)
