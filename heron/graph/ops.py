"""The table of ops: each has a shape rule, the composition of plain ops that a fused one means, and a shard rule.

What an op computes is defined by its reference kernel (heron/backends/reference); a backend is a table from the
names here to kernels of its own. Rules are registered by the modules beside this one:

=============  ======================================================================================
ops_core       embed, linear, norms, elementwise, shapes, rows, pool
ops_attention  rope, writing and reading the paged cache, latent attention
ops_routing    picking experts and multiplying by them
ops_recurrent  causal convolution, selective scan, gated delta rule
ops_fused      packed_linear, glu, attention, rope_attention and others: fused ops and what they mean
ops_parallel   collectives, adapters, sums of squares, which only passes insert
=============  ======================================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from heron.graph.dims import Shape

if TYPE_CHECKING:
    from heron.graph.builder import Builder
    from heron.graph.graph import Node, Value, Weight

#: What a shape rule sees: the shapes of the inputs, the weights, and the attributes.
ShapeRule = Callable[[tuple[Shape, ...], "tuple[Weight | None, ...]", Mapping[str, Any]], tuple[Shape, ...]]
#: Rebuilds a fused node from plain ops on new inputs: ``compose(builder, node, inputs) -> outputs``.
Compose = Callable[["Builder", "Node", "tuple[Value, ...]"], "tuple[Value, ...]"]


@dataclass
class Op:
    """A published primitive, or (with ``compose``) a fused one whose meaning is a composition of others."""

    name: str
    shape: ShapeRule
    dtypes: tuple[str, ...] = ()  # of the outputs; f32 where it says nothing
    compose: Compose | None = None
    shard: Callable[..., Any] | None = field(default=None, repr=False)  # set by heron/graph/passes/shard_rules.py


OPS: dict[str, Op] = {}


def op(name: str, *, dtypes: tuple[str, ...] = ()) -> Callable[[ShapeRule], ShapeRule]:
    """Register an op under ``name`` with the decorated function as its shape rule."""

    def register(rule: ShapeRule) -> ShapeRule:
        OPS[name] = Op(name, rule, dtypes)
        return rule

    return register


def means(name: str) -> Callable[[Compose], Compose]:
    """Register the decorated function as the meaning of the fused op ``name``."""

    def register(compose: Compose) -> Compose:
        OPS[name].compose = compose
        return compose

    return register


def check(condition: bool, message: str) -> None:
    """A shape rule's refusal: the graph was built wrongly, which is a bug or a checkpoint that does not fit."""
    if not condition:
        raise ValueError(message)
