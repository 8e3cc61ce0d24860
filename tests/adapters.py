"""Random low-rank adapters for a model, and the model with one merged into its weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from heron.backends.base import Adapter
from heron.checkpoint.views import Const
from heron.graph.graph import Model, Node

PRODUCTS = ("linear", "packed_linear", "gated_linear")


def matrices(model: Model) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights that an adapter can change."""
    nodes = [n for g in model.entries.values() for n in g.nodes if n.op in PRODUCTS]
    return {w.name: w.shape for n in nodes for w in n.weights if w is not None and len(w.shape) == 2}


def adapter(model: Model, seed: int) -> Adapter:
    rng = np.random.default_rng(seed)
    pairs = {}
    for name, (out, size) in matrices(model).items():
        down = rng.standard_normal((3, size)).astype(np.float32) / size**0.5
        pairs[name] = (down, rng.standard_normal((out, 3)).astype(np.float32))
    return Adapter(pairs, scale=0.3)


def merged(model: Model, adapter: Adapter) -> Model:
    """The model with the adapter added into its products' weights; other uses of a weight (a tied embedding) keep it."""

    def node(n: Node) -> Node:
        if n.op not in PRODUCTS:
            return n
        weights = []
        for w in n.weights:
            if w is not None and w.name in adapter.pairs:
                down, up = adapter.pairs[w.name]
                w = replace(w, tensor=Const(w.tensor.numpy() + adapter.scale * up @ down))
            weights.append(w)
        return replace(n, weights=tuple(weights))

    return replace(model, entries={name: replace(g, nodes=tuple(map(node, g.nodes))) for name, g in model.entries.items()})
