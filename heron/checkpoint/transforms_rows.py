"""Rows that only HF stores. See heron/checkpoint/transforms.py for what a transform is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heron.checkpoint.tensor import Tensor
from heron.checkpoint.transforms import Elementwise
from heron.checkpoint.views import AxisSlice, Concat, Const


@dataclass(frozen=True)
class DropRows(Elementwise):
    """GGUF drops the first rows, which no model reads; back in HF they are zeros (RoBERTa's positions begin at 2)."""

    rows: int = 2

    def forward(self, tensor: Tensor) -> Tensor:
        return AxisSlice(tensor, 0, self.rows, tensor.dim(0))

    def inverse(self, tensor: Tensor) -> Tensor:
        return Concat([Const(np.zeros((self.rows, *tensor.shape[1:])), format=tensor.format), tensor])
