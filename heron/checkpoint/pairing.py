"""Rope pairing as an attribute of a view: rows in HF's order, which can be moved to GGUF's, and back.

A head of d rows turns pairs (i, i + d/2) in HF's order ("half") and (2i, 2i + 1) in that of GGUF's llama ("adjacent").
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import gather
from heron.errors import CheckpointError


class HalfPaired(Tensor):
    """Query or key rows as HF stores them, marked so: nothing is moved to run them."""

    pairing = "half"

    def __init__(self, source: Tensor, heads: int) -> None:
        """`source` is a matrix [heads * d, in] or a bias [heads * d]."""
        _check_heads(source, heads)
        self.source, self.heads = source, heads
        self.shape, self.format, self.column_order = source.shape, source.format, source.column_order

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self.source.rows(start, stop)

    def materialize(self) -> Tensor:
        """The rows in GGUF's order: each head's first half interleaved with its second. Lazy, any block format."""
        order = np.arange(self.shape[0]).reshape(self.heads, 2, -1)
        return gather(self.source, order.swapaxes(1, 2).ravel())


def materialize(tensor: Tensor) -> Tensor:
    """The tensor in the order in which a GGUF file holds it."""
    return tensor.materialize() if isinstance(tensor, HalfPaired) else tensor


def to_halves(tensor: Tensor, heads: int) -> Tensor:
    """The inverse of `materialize`: rows of adjacent pairs in HF's order. Lazy, any block format."""
    _check_heads(tensor, heads)
    order = np.arange(tensor.shape[0]).reshape(heads, -1, 2)
    return gather(tensor, order.swapaxes(1, 2).ravel())


def _check_heads(tensor: Tensor, heads: int) -> None:
    if tensor.dim(0) % (2 * heads):
        raise CheckpointError(f"{tensor!r} cannot be {heads} heads of an even size; hyperparameters and tensors disagree")
