"""Groups of columns that do not lie together ("act-order"): stored in the order of their groups, which the tensor then tells."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.quantized.parts import Part


def sorted_columns(index: Part, groups: int, size: int) -> NDArray[np.intp] | None:
    """The order of columns in which those of a group lie together; None where they do as they are.

    ``index`` [in] names each column's group; all have ``size`` columns, but for a last one that may have fewer. Raises CheckpointError
    where it names other groups.
    """
    group = index.words().reshape(-1).astype(np.int64).astype(np.int32)  # as signed ones of 32 bits
    if (group == -1).all():  # compressed-tensors' for "not given"
        return None
    for extreme in (int(group.min()), int(group.max())):
        if not 0 <= extreme < groups:
            raise index.error(f"names the group {extreme}, but there are {groups}; the file is damaged: download it again")
    order = np.argsort(group, kind="stable")
    if not np.array_equal(group[order], np.arange(len(group)) // size):
        raise index.error(f"names groups of unequal sizes, but each should have {size} columns; the file is damaged: download it again")
    return None if np.array_equal(order, np.arange(len(order))) else order
