"""Random numbers by counter: a number depends on its key and counter alone, so an answer does not depend on its batch.

Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
"""

from __future__ import annotations

_MASK = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)


def philox4x32(counter: tuple[int, int, int, int], key: tuple[int, int], rounds: int = 10) -> tuple[int, int, int, int]:
    """Four 32-bit words from a counter of four and a key of two."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(rounds):
        low, high = _MULTIPLIERS[0] * c0, _MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (high >> 32) ^ c1 ^ k0, high & _MASK, (low >> 32) ^ c3 ^ k1, low & _MASK
        k0, k1 = (k0 + _WEYL[0]) & _MASK, (k1 + _WEYL[1]) & _MASK
    return c0, c1, c2, c3


def uniform(seed: int, sample: int, position: int, which: int = 0) -> float:
    """A float64 in [0, 1) with 53 random bits, for the token at ``position`` of the ``sample``-th answer with this seed.

    ``which``: 0 picks the token, 1 decides on XTC.
    """
    words = philox4x32((position & _MASK, position >> 32 & _MASK, sample & _MASK, which), (seed & _MASK, seed >> 32 & _MASK))
    return ((words[0] << 21) ^ (words[1] >> 11)) / 2.0**53
