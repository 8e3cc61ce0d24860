"""ModelBuilder: a graph builder that finds weights by name in a checkpoint, with the shape that the block expects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.tensor import Tensor, same_order
from heron.checkpoint.views import AsStored, AxisSlice, Const, Reshape
from heron.errors import CheckpointError
from heron.graph.builder import Builder
from heron.graph.graph import Field, Group, State, Value, Weight


def _inner(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape without outer dimensions of one, which programs that rewrite GGUF files leave out."""
    ones = next((i for i, size in enumerate(shape) if size != 1), len(shape))
    return shape[ones:]


class Weights:
    """The weights of one model, shared by its entries: the same name gives the same Weight."""

    def __init__(self, checkpoint: Checkpoint) -> None:
        self.checkpoint = checkpoint
        self.made: dict[Hashable, Weight] = {}
        self.used: set[str] = set()
        #: of tensors in which several weights are stored together (name, axis of the rows): the rows taken
        self.parts: dict[tuple[str, int], set[tuple[int, int]]] = {}

    def tensor(self, name: str) -> Tensor | None:
        tensor = self.checkpoint.tensors.get(name)
        if tensor is not None:
            self.used.add(name)
        return tensor

    def uncovered(self) -> list[str]:
        """Tensors that were taken in parts which do not make them up exactly, with the rows that are left over or taken twice."""
        found = []
        for (name, axis), parts in self.parts.items():
            at = 0
            for begin, end in [*sorted(parts), (self.checkpoint.tensors[name].shape[axis],) * 2]:
                if begin != at:
                    found.append(f"{name} (rows {min(at, begin)} to {max(at, begin)})")
                    break
                at = end
        return found


class ModelBuilder(Builder):
    """A Builder whose weights have a prefix (``blk.3.``) and come from a checkpoint."""

    def __init__(self, name: str, weights: Weights) -> None:
        super().__init__(name)
        self.weights = weights
        self.prefix = ""

    @contextmanager
    def layer(self, prefix: str) -> Iterator[None]:
        """Weights and states inside are named ``{prefix}.…``."""
        before, self.prefix = self.prefix, f"{prefix}."
        with self.scope(prefix):
            yield
        self.prefix = before

    def weight(self, name: str, *shape: int, role: str = "whole", unit: int = 1, part: tuple[int, int] | None = None) -> Weight:
        """The weight of this name (``attn_q.weight``) and shape, rows outermost: ``[out, in]``, ``[E, out, in]``.

        ``part`` takes only these rows (along axis 0, or with the role "expert" along axis 1) of a tensor in which several are
        stored together. Raises CheckpointError where the tensor is missing or has another shape.
        """
        weight = self.maybe(name, *shape, role=role, unit=unit, part=part)
        if weight is None:
            raise CheckpointError(f"{self.weights.checkpoint.path}: tensor {self.prefix + name!r} of shape {list(shape)} is missing")
        return weight

    def view(self, name: str, *shape: int, stored: str, look: Callable[[Tensor], Tensor], role: str = "whole", unit: int = 1) -> Weight:
        """The weight of this name and shape where the checkpoint has it inside of another, ``stored``: ``look`` gives the lazy view."""
        full = self.prefix + name
        key = (full, stored, shape, role)
        if key not in self.weights.made:
            source = self.weights.tensor(self.prefix + stored)
            assert source is not None, f"{name} is looked for in {stored}, which the checkpoint lacks"
            tensor = look(source)
            if tensor.shape != shape:
                raise self._misshapen(full, tensor, str(list(shape)))
            self.weights.made[key] = Weight(full, tensor, role, unit)
        return self.weights.made[key]

    def maybe(self, name: str, *shape: int, role: str = "whole", unit: int = 1, part: tuple[int, int] | None = None) -> Weight | None:
        """As ``weight``, or None where the checkpoint has no such tensor."""
        full = self.prefix + name
        key = (full, part, shape, role)
        if key not in self.weights.made:
            tensor = self.weights.tensor(full)
            if tensor is None:
                return None
            if part is not None:
                axis = 1 if role == "expert" else 0
                if axis >= len(tensor.shape) or part[1] > tensor.shape[axis]:
                    raise self._misshapen(full, tensor, f"at least {part[1]} rows")
                self.weights.parts.setdefault((full, axis), set()).add(part)
                tensor = AxisSlice(tensor, axis, *part)
            if tensor.shape != shape and _inner(tensor.shape) == _inner(shape):
                tensor = Reshape(tensor, shape)
            if tensor.shape != shape:
                raise self._misshapen(full, tensor, str(list(shape)))
            label = full if part is None else f"{full}[{part[0]}:{part[1]}]"
            self.weights.made[key] = Weight(label, tensor, role, unit)
        return self.weights.made[key]

    def _misshapen(self, name: str, tensor: Tensor, wanted: str) -> CheckpointError:
        where = self.weights.checkpoint.path
        return CheckpointError(f"{where}: tensor {name!r} has shape {list(tensor.shape)}; by the metadata it should have {wanted}")

    def has(self, name: str) -> bool:
        return self.prefix + name in self.weights.checkpoint.tensors

    def pairing(self, name: str, default: str) -> str:
        """How rope pairs the rows of this tensor: as the file stores them (nothing is permuted to run)."""
        tensor = self.weights.checkpoint.tensors.get(self.prefix + name)
        return (tensor.pairing if tensor is not None else "") or default

    def constant(self, name: str, values: Sequence[float]) -> Weight:
        """A weight that the model computes from its hyperparameters (rope frequencies)."""
        key = (name, tuple(values))
        if key not in self.weights.made:
            self.weights.made[key] = Weight(name, Const(np.asarray(values, np.float32)), trainable=False)
        return self.weights.made[key]

    # Matrices whose scale is a tensor of its own (NVFP4), or whose columns are stored in an order of their own (GPTQ's act-order)

    def embed(self, ids: Value, weight: Weight) -> Value:
        scale = self._scale(weight, 1)
        rows = super().embed(ids, weight)
        return rows if scale is None else self.scale(rows, float(scale.numpy()[0, 0]))

    def linear(self, x: Value, weight: Weight, bias: Weight | None = None) -> Value:
        if weight.tensor.column_order is not None:
            return self.linear(self._in_order_of(weight, x), self._as_stored(weight), bias)
        scale = self._scale(weight, 1)
        if scale is None:
            return super().linear(x, weight, bias)
        scaled = self.scale(super().linear(x, weight), float(scale.numpy()[0, 0]))
        return scaled if bias is None else self.bias(scaled, bias)

    def packed_linear(self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight | None]) -> tuple[Value, ...]:
        if self._share_order(weights):
            return self.packed_linear(self._in_order_of(weights[0], x), [self._as_stored(w) for w in weights], biases)
        if all(self._is_plain(weight) for weight in weights):
            return super().packed_linear(x, weights, biases)
        return tuple(self.linear(x, weight, bias) for weight, bias in zip(weights, biases, strict=True))

    def gated_linear(self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight | None], kind: str) -> Value:
        if self._share_order(weights):
            return self.gated_linear(self._in_order_of(weights[0], x), [self._as_stored(w) for w in weights], biases, kind)
        if all(self._is_plain(weight) for weight in weights):
            return super().gated_linear(x, weights, biases, kind)
        gate, up = self.packed_linear(x, weights, biases)
        return self.glu(gate, up, kind)

    def expert_linear(self, x: Value, ids: Value, weight: Weight, bias: Weight | None = None) -> Value:
        scale = self._scale(weight, weight.shape[0])
        if scale is None:
            return super().expert_linear(x, ids, weight, bias)
        factors = self.weights.made.setdefault((weight.name, "scale"), Weight(f"{weight.name}.scale", scale, trainable=False))
        scaled = self.mul(super().expert_linear(x, ids, weight), super().embed(ids, factors))
        return scaled if bias is None else self.add(scaled, super().embed(ids, bias))

    def _is_plain(self, weight: Weight) -> bool:
        return self._scale(weight, 1) is None and weight.tensor.column_order is None

    @staticmethod
    def _share_order(weights: Sequence[Weight]) -> bool:
        first = weights[0].tensor
        return first.column_order is not None and all(same_order(weight.tensor, first) for weight in weights)

    def _in_order_of(self, weight: Weight, x: Value) -> Value:
        """x's columns as the weight's are stored."""
        order = weight.tensor.column_order
        assert order is not None
        key = ("order", order.tobytes())
        if key not in self.weights.made:
            self.weights.made[key] = Weight(f"{weight.name}.order", Const(order.astype(np.float32)), trainable=False)
        return self.columns(x, self.weights.made[key])

    def _as_stored(self, weight: Weight) -> Weight:
        key = (weight, "as stored")
        if key not in self.weights.made:
            self.weights.made[key] = replace(weight, tensor=AsStored(weight.tensor))
        return self.weights.made[key]

    def _scale(self, weight: Weight, matrices: int) -> Tensor | None:
        """The factors [matrices, 1] by which a GGUF file scales each matrix, where it has them (``blk.0.attn_q.scale``)."""
        stem = weight.name.partition(".weight")[0]
        self.weights.tensor(f"{stem}.input_scale")  # how hardware with FP4 products is to round activations: nothing to compute here
        scale = self.weights.tensor(f"{stem}.scale")
        if scale is not None and scale.size != matrices:
            raise self._misshapen(f"{stem}.scale", scale, str([matrices]))
        return None if scale is None else Reshape(scale, (matrices, 1))

    def layer_state(self, name: str, group: Group, **fields: Field) -> State:
        """A state of this layer: ``blk.3.kv``."""
        return self.state(self.prefix + name, group, **fields)
