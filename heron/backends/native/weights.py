"""A model's weights as the core holds them: matrices packed for products, everything else as f32."""

from __future__ import annotations

from heron import _core
from heron.checkpoint.tensor import Tensor
from heron.graph.graph import Node, Weight


def matrices_of(node: Node) -> int:
    """How many of the node's first weights are matrices that it multiplies by, or takes rows of."""
    if node.op == "packed_linear":
        return int(node.attrs["n"])
    return 1 if node.op in ("embed", "linear", "expert_linear") else 0


class NativeWeights:
    """Each tensor is made ready once, whatever the number of nodes and entries that use it."""

    def __init__(self) -> None:
        self._made: dict[tuple[int, bool], tuple[Tensor, _core.Weight]] = {}  # the tensor is kept so that its id stays its own

    def get(self, weight: Weight, matrix: bool) -> _core.Weight:
        key = (id(weight.tensor), matrix)
        if key not in self._made:
            self._made[key] = (weight.tensor, _packed(weight) if matrix else _plain(weight))
        return self._made[key][1]

    @property
    def nbytes(self) -> int:
        return sum(made.nbytes for _, made in self._made.values())


def _plain(weight: Weight) -> _core.Weight:
    return _core.Weight(weight.name, list(weight.shape), weight.tensor.numpy().reshape(-1))


def _packed(weight: Weight) -> _core.Weight:
    return _core.Weight.dense(weight.name, list(weight.shape), weight.tensor.numpy().reshape(-1))
