"""Blocks of any format as a file may have them: any bits, and scales that are finite."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.quant.formats import Format


def random_rows(fmt: Format, rows: int, k: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Rows with any bits for quants and sub-scales, and finite scales; some blocks hold the extremes of each."""
    if fmt.name == "BF16":
        return (rng.standard_normal((rows, k)).astype("<f4").view("<u4") >> 16).astype("<u2").view(np.uint8)
    if fmt.plain and fmt.name.startswith("F8"):
        return rng.integers(100, 123, (rows, k), dtype=np.uint8)  # finite, and not far from 1
    if fmt.plain:
        return (rng.standard_normal((rows, k)) * (1 if fmt.layout.kind == "f" else 30)).astype(fmt.layout).view(np.uint8)
    raw = rng.integers(0, 256, (rows, fmt.row_bytes(k)), dtype=np.uint8)
    blocks = raw.reshape(-1).view(fmt.layout)
    for i, fill in enumerate((0x00, 0xFF, 0x80, 0x7F)):
        raw.reshape(len(blocks), -1)[i::7] = fill
    for field in ("d", "m", "dmin"):
        if field in (fmt.layout.names or ()):
            blocks[field] = rng.standard_normal(len(blocks)).astype(np.float16)
            for i, scale in enumerate((0.0, -0.0, 6e-8, 60.0)):  # 6e-8 is the smallest half
                blocks[field][i::11] = scale
    if fmt.name.startswith("E4M3"):
        blocks["qs"][blocks["qs"] & 0x7F == 0x7F] = 0  # NaN
    if fmt.name == "MXFP4":
        blocks["e"] = rng.integers(100, 140, len(blocks))
    if fmt.name == "IQ1_M":  # the top bit of the exponent, of a scale that is scattered over four words
        blocks["scales"][:, 3] &= 0xBFFF
    return raw
