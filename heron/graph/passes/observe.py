"""What matrices multiply, watched: sums of squares of each one's inputs become outputs, from which importance matrices are made."""

from __future__ import annotations

from dataclasses import replace

from heron.graph.builder import Builder
from heron.graph.graph import Graph, Model, Node, Value, Weight
from heron.graph.passes.rewrite import keep, rewrite
from heron.graph.passes.weigh import matrices_of

#: What a matrix is multiplied by; rows that ``embed`` takes are read, and weigh alike.
PRODUCTS = ("linear", "packed_linear", "gated_linear", "expert_linear")


def observe(model: Model) -> Model:
    """The model with two marks for each matrix that is not the vocabulary's, in each entry.

    ``squares:{name}`` f32 [in] (of experts [E, in]) is the sum of the squares of each column of what it multiplies in a step, and
    ``rows:{name}`` f32 [1] (or [E]) how many rows that were. Matrices with one input share them.
    """
    return replace(model, entries={name: _observe(graph) for name, graph in model.entries.items()})


def _observe(graph: Graph) -> Graph:
    marks: dict[str, Value] = {}
    seen: dict[tuple[Value, ...], tuple[Value, ...]] = {}

    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        if node.op in PRODUCTS:
            for weight in node.weights[: matrices_of(node)]:
                if weight is not None and weight.role != "vocab" and weight.trainable:
                    name = stored_name(weight)
                    marks[f"squares:{name}"], marks[f"rows:{name}"] = _sums(b, inputs, weight, seen)
        return keep(b, node, inputs)

    observed = rewrite(graph, visit)
    return replace(observed, marks={**observed.marks, **marks})


def _sums(b: Builder, inputs: tuple[Value, ...], weight: Weight, seen: dict[tuple[Value, ...], tuple[Value, ...]]) -> tuple[Value, ...]:
    if inputs not in seen:
        seen[inputs] = b.call("squares", inputs) if len(inputs) == 1 else b.call("expert_squares", inputs, experts=weight.shape[0])
    return seen[inputs]


def stored_name(weight: Weight) -> str:
    """The checkpoint's name of the tensor that the weight is, or is a part of (``blk.0.attn_qkv.weight[0:64]``)."""
    return weight.name.partition("[")[0]
