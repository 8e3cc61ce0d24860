"""Which of a model's weights train, as parameters under their canonical names, and tensors of a checkpoint made of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from heron.backends.torch.weights import Matrix, TorchWeights
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.pairing import HalfPaired
from heron.checkpoint.tensor import Tensor as Stored
from heron.checkpoint.views import AsStored, Concat, InOrder, Reshape
from heron.graph.graph import Graph, Weight
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS

_FORMATS = {torch.float32: FORMATS["F32"], torch.bfloat16: FORMATS["BF16"]}


def stem(name: str) -> str:
    """The tensor in which a weight is stored: ``blk.0.attn_qkv.weight`` of ``blk.0.attn_qkv.weight[0:48]``."""
    return name.partition("[")[0]


def matching(names: Iterable[str], patterns: Sequence[str]) -> list[str]:
    """The names whose tensor fits one of the patterns (``blk.*.attn_*``)."""
    return [name for name in names if any(fnmatchcase(stem(name), pattern) for pattern in patterns)]


def trainable_weights(graph: Graph, checkpoint: Checkpoint) -> dict[str, Weight]:
    """By name, the weights that could train: those that the checkpoint stores as they are, or one behind another in one tensor."""

    def stored(weight: Weight) -> bool:
        tensor = checkpoint.tensors.get(stem(weight.name))
        return tensor is not None and (weight.name != stem(weight.name) or weight.tensor.size == tensor.size)

    return {name: weight for name, weight in graph.weights().items() if weight.trainable and stored(weight)}


def place(root: nn.Module, name: str, parameter: nn.Parameter) -> None:
    """Register the parameter so that ``root.named_parameters()`` calls it by this name: a module for each part of it."""
    *path, leaf = name.split(".")
    for part in path:
        if part not in root._modules:
            root.add_module(part, nn.Module())
        root = root.get_submodule(part)
    root.register_parameter(leaf, parameter)


class TrainedWeights(TorchWeights):
    """A model's weights, of which those that train are parameters, in whatever type they are held."""

    def __init__(self, device: torch.device, dtype: torch.dtype, parameters: Mapping[str, nn.Parameter]) -> None:
        super().__init__(device, dtype)
        self._parameters = parameters

    def matrix(self, weight: Weight) -> Matrix:
        parameter = self._parameters.get(weight.name)
        return super().matrix(weight) if parameter is None else Matrix(parameter.reshape(weight.shape))

    def numbers(self, weight: Weight) -> Tensor:
        parameter = self._parameters.get(weight.name)
        return super().numbers(weight) if parameter is None else parameter.reshape(weight.shape).float()

    def derived(self, key: Hashable, make: Callable[[], Tensor]) -> Tensor:
        """What ``make`` gives: it changes with the weights, and where it is computed once more for a gradient it is not to be found."""
        return make().to(self._device)


def stored_order(weight: Weight) -> NDArray[np.intp] | None:
    """The order in which the weight's columns are stored, where it is not the matrix's own."""
    return weight.tensor.order if isinstance(weight.tensor, AsStored) else None


class Held(Stored):
    """A parameter as a tensor of a checkpoint; rows are read from the device when they are asked for."""

    def __init__(self, parameter: nn.Parameter) -> None:
        self._numbers = parameter.detach()
        self.shape, self.format = tuple(parameter.shape), _FORMATS[parameter.dtype]

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        rows = self._numbers.reshape(self.n_rows, self.row_length)[start : self._stop(stop)]
        raw: NDArray[np.uint8] = rows.cpu().contiguous().view(torch.uint8).numpy()
        return raw


class Merged(Stored):
    """A matrix W [out, in] with an adapter's product B A added, in f32."""

    def __init__(self, matrix: Stored, down: Tensor, up: Tensor, order: NDArray[np.intp] | None = None) -> None:
        """A [r, in], and B [out, r] with the scale in it. ``order`` is that of the matrix's columns, where it is not A's."""
        self._matrix, self._up = matrix, up
        self._down = down if order is None else down[:, torch.from_numpy(order)]
        self.shape, self.format = matrix.shape, FORMATS["F32"]

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        stop = self._stop(stop)
        added = (self._up[start:stop].float() @ self._down.float()).cpu().numpy()
        return np.ascontiguousarray(dequantize(self._matrix.format, self._matrix.rows(start, stop)) + added).view(np.uint8)


def with_changed(checkpoint: Checkpoint, changed: Mapping[str, tuple[Weight, Stored]]) -> dict[str, Stored]:
    """The checkpoint's tensors, with weights that have changed in the place of what they were made of."""
    tensors: dict[str, Stored] = dict(checkpoint.tensors)
    parts: dict[str, list[tuple[Weight, Stored]]] = {}
    for name, pair in changed.items():
        parts.setdefault(stem(name), []).append(pair)
    for name, pairs in parts.items():
        before = tensors[name]
        now = _joined(pairs)
        if (order := stored_order(pairs[0][0])) is not None:
            now = InOrder(now, order)
        now = now if now.shape == before.shape else Reshape(now, before.shape)
        tensors[name] = HalfPaired(now, before.heads) if isinstance(before, HalfPaired) else now
    return tensors


def _joined(pairs: Sequence[tuple[Weight, Stored]]) -> Stored:
    """The tensor that holds all of these weights: one alone, or several one behind another, as their labels say."""
    if len(pairs) == 1:
        return pairs[0][1]

    def begin(pair: tuple[Weight, Stored]) -> int:
        label = re.search(r"\[(\d+):\d+\]$", pair[0].name)
        assert label is not None, f"{pair[0].name} is no part of a tensor"
        return int(label[1])

    return Concat([tensor for _, tensor in sorted(pairs, key=begin)], axis=1 if pairs[0][0].role == "expert" else 0)
