"""Tensor parallelism: the graph of one rank, with its part of the weights and states, and collectives between ranks.

Every value has a layout: whole on each rank; split along an axis into equal, contiguous parts; or partial, so that
the ranks' values add up to it (experts' outputs among them). Each op's shard rule (shard_rules.py) says which layouts
it can compute with as they are, and what comes out; what no rule can use is made whole first. So every graph can be
split, and the worst that can happen is that a part of it is computed on every rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from heron.checkpoint.views import AxisSlice
from heron.graph.builder import Builder
from heron.graph.graph import Field, Graph, Model, Node, State, Value, Weight
from heron.graph.ops import OPS
from heron.graph.passes.rewrite import keep, rewrite

WHOLE = None
PARTIAL = -1  #: the sum over ranks is the value
EXPERT = -2  #: likewise, and each row is 0 on all ranks but the one that holds its expert
Layout = int | None  #: WHOLE, PARTIAL, EXPERT, or the axis that is split


@dataclass
class Sharding:
    """What a rule works with: the rank, the layout of each new value, and the states that were split so far."""

    rank: int
    ranks: int
    b: Builder = field(default_factory=lambda: Builder(""))
    layouts: dict[Value, Layout] = field(default_factory=dict)
    weights: dict[tuple[Weight, int], Weight] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)

    def layout(self, value: Value) -> Layout:
        return self.layouts.get(value, WHOLE)

    def put(self, outputs: tuple[Value, ...], layout: Layout) -> tuple[Value, ...]:
        self.layouts.update(dict.fromkeys(outputs, layout))
        return outputs

    def whole(self, value: Value) -> Value:
        """The value made whole on each rank."""
        layout = self.layout(value)
        if layout is WHOLE:
            return value
        if layout < 0:
            return self.b.call("all_reduce", (value,))[0]
        return self.b.call("all_gather", (value,), axis=layout, ranks=self.ranks)[0]

    def divides(self, size: int, unit: int = 1) -> bool:
        """Whether ``size`` splits into equal parts for all ranks, each a multiple of ``unit``."""
        return size % (unit * self.ranks) == 0

    def part(self, weight: Weight, axis: int) -> Weight:
        """This rank's part of a weight along an axis."""
        key = (weight, axis)
        if key not in self.weights:
            size = weight.shape[axis] // self.ranks
            tensor = AxisSlice(weight.tensor, axis, self.rank * size, (self.rank + 1) * size)
            self.weights[key] = replace(weight, tensor=tensor)
        return self.weights[key]

    def split_state(self, state: State, **axes: int) -> State:
        """The state with the named fields split along an axis of theirs; the same for every node that uses it."""
        fields = tuple((name, Field(_divided(f.shape, axes[name], self.ranks), f.dtype) if name in axes else f) for name, f in state.fields)
        self.states[state.name] = self.b.states[state.name] = replace(state, fields=fields)
        return self.states[state.name]

    def is_split(self, state: State) -> bool:
        return state.name in self.states


def _divided(shape: tuple[int, ...], axis: int, ranks: int) -> tuple[int, ...]:
    return (*shape[:axis], shape[axis] // ranks, *shape[axis + 1 :])


def shard(model: Model, rank: int, ranks: int) -> Model:
    """The part of the model that ``rank`` of ``ranks`` holds. Its outputs are whole on each rank."""
    from heron.graph.passes import shard_rules  # noqa: F401  (registers the rules)

    sharding = Sharding(rank, ranks)
    # The encoder writes the cross states that the decoder reads: it decides how they are split.
    entries = {name: _shard(model.entries[name], sharding) for name in sorted(model.entries)}
    return replace(model, entries=entries)


def _shard(graph: Graph, sharding: Sharding) -> Graph:
    wanted = set(graph.outputs.values()) | set(graph.marks.values())

    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        sharding.b = b
        b.states.update(sharding.states)
        rule = OPS[node.op].shard
        outputs = rule(sharding, node, inputs) if rule else compute_whole(sharding, node, inputs)
        return tuple(sharding.whole(new) if old in wanted else new for old, new in zip(node.outputs, outputs, strict=True))

    sharding.layouts.clear()
    result = rewrite(graph, visit)
    return replace(result, states={name: sharding.states.get(name, state) for name, state in result.states.items()})


def compute_whole(s: Sharding, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
    """The rule of ops that have none: every rank computes the same on whole inputs."""
    return keep(s.b, node, tuple(s.whole(value) for value in inputs))
