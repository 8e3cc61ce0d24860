"""Adapters: a low-rank branch beside each product that an adapter may change (Hu et al. 2021).

The branches read banks that belong to the executable, and each sequence of a batch names its own adapter.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace

from heron.errors import UnsupportedError
from heron.graph.builder import Builder
from heron.graph.graph import Graph, Model, Node, Value, Weight
from heron.graph.passes.rewrite import keep, rewrite


def attach(model: Model, targets: Collection[str]) -> Model:
    """The model prepared to adapt the weights named in ``targets`` (``blk.0.attn_q.weight``).

    Raises UnsupportedError for a name that no linear product of the model uses.
    """
    entries = {name: _attach(graph, targets) for name, graph in model.entries.items()}
    found = {node.attrs["target"] for graph in entries.values() for node in graph.nodes if node.op == "lora"}
    if missing := sorted(set(targets) - found):
        raise UnsupportedError(f"adapters for {', '.join(missing)}: this {model.architecture} model multiplies by no such matrix")
    return replace(model, entries=entries)


def _attach(graph: Graph, targets: Collection[str]) -> Graph:
    ordered: dict[Value, Value] = {}  # columns in the order in which a matrix is stored, and what they were: adapters know of no order

    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        if node.op == "columns":
            outputs = keep(b, node, inputs)
            ordered[outputs[0]] = inputs[0]
            return outputs
        if node.op in ("linear", "packed_linear"):
            return branches(b, inputs[0], node.weights, keep(b, node, inputs))
        if node.op == "gated_linear" and any(weight and weight.name in targets for weight in node.weights[:2]):
            products = b.call("packed_linear", inputs, node.weights, n=2)
            return b.call("glu", branches(b, inputs[0], node.weights, products), **node.attrs)
        return keep(b, node, inputs)

    def branches(b: Builder, x: Value, weights: Sequence[Weight | None], products: tuple[Value, ...]) -> tuple[Value, ...]:
        x = ordered.get(x, x)
        names = [weight.name if weight else "" for weight in weights[: len(products)]]
        return tuple(
            b.call("lora", (x, product), target=name)[0] if name in targets else product
            for name, product in zip(names, products, strict=True)
        )

    return rewrite(graph, visit)
