"""From float32 to stored blocks: by published rules, or by a search for the blocks that lose least (docs/quantize.md)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from heron.compiled import core
from heron.errors import CheckpointError, UnsupportedError
from heron.quant.formats import Format
from heron.quant.rules import encode

#: Fewer elements than this are not worth waking threads for.
_WORTH_THREADS = 1 << 16


def quantize(fmt: Format, values: ArrayLike, importance: ArrayLike | None = None, threads: int | None = None) -> NDArray[np.uint8]:
    """Encode rows: float32 [..., n] -> uint8 [..., row_bytes].

    `importance` [n], none of it negative, is what an error in each column counts for, such as the mean square of the activation that
    the column meets. Formats with a published rule follow it where there is none. `threads`: None for one a core.
    Raises UnsupportedError for a format that this installation cannot write, CheckpointError when n is not a whole number of blocks, when
    `importance` does not fit, and where blocks would have to hold a number that is not finite, naming its row.
    """
    array = np.ascontiguousarray(values, dtype=np.float32)
    n = array.shape[-1]
    row_bytes = fmt.row_bytes(n)
    weights = None if importance is None else _checked(importance, n)
    if core is None or not core.can_quantize(fmt.name):
        if weights is not None and not fmt.plain:
            raise UnsupportedError(f"weighing errors of {fmt.name} by importance takes Heron's compiled core; install with a C++ compiler")
        if not fmt.plain:
            _refuse_what_is_not_finite(fmt, array)
        return encode(fmt, array)
    rows = array.reshape(-1, n)
    if array.size < _WORTH_THREADS:
        threads = 1
    try:
        raw: NDArray[np.uint8] = core.quantize(fmt.name, rows, weights, threads or 0)
    except ValueError:
        _refuse_what_is_not_finite(fmt, rows)
        raise
    return raw.reshape(*array.shape[:-1], row_bytes)


def _checked(importance: ArrayLike, n: int) -> NDArray[np.float32]:
    weights = np.ascontiguousarray(importance, dtype=np.float32)
    if weights.shape != (n,):
        raise CheckpointError(f"importance of shape {list(weights.shape)} does not fit rows of {n} elements: it takes one number a column")
    if not (np.isfinite(weights) & (weights >= 0)).all():
        column = int(np.argmin(np.isfinite(weights) & (weights >= 0)))
        raise CheckpointError(f"the importance of column {column} is {weights[column]}: it must be finite and not negative")
    return weights


def _refuse_what_is_not_finite(fmt: Format, array: NDArray[np.float32]) -> None:
    rows = array.reshape(-1, array.shape[-1])
    wrong = np.argwhere(~np.isfinite(rows))
    if len(wrong):
        row, column = wrong[0]
        raise CheckpointError(
            f"row {row} has {rows[row, column]} in column {column}, which no {fmt.name} block can hold: the tensor is damaged"
        )
