"""Adapters: a low-rank branch beside each product that an adapter may change (Hu et al. 2021).

The branches read banks that belong to the executable, and each sequence of a batch names its own adapter.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from heron.errors import UnsupportedError
from heron.graph.builder import Builder
from heron.graph.graph import Graph, Model, Node, Value
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
    def visit(b: Builder, node: Node, inputs: tuple[Value, ...]) -> tuple[Value, ...]:
        outputs = keep(b, node, inputs)
        if node.op not in ("linear", "packed_linear"):
            return outputs
        names = [weight.name if weight else "" for weight in node.weights[: len(outputs)]]
        return tuple(
            b.call("lora", (inputs[0], output), target=name)[0] if name in targets else output
            for name, output in zip(names, outputs, strict=True)
        )

    return rewrite(graph, visit)
