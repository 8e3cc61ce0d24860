"""What a model's weights take, by part, before any of them is loaded."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from heron.graph.graph import Model, Node, Weight

#: Bytes that a backend holds a weight in; ``True`` for a matrix, which is multiplied by or has rows taken of it.
Held = Callable[[Weight, bool], int]

#: What a weight belongs to, by its name within its layer: the first that fits.
PARTS = (
    ("embeddings", r"^(token_embd|position_embd|token_types|per_layer_token_embd)\b"),
    ("output head", r"^output\.|^cls"),
    ("experts", r"\bffn_\w+_exps\b"),
    ("feed-forward", r"\bffn_(?!norm)"),
    ("attention", r"\b(attn|cross_attn)_(?!norm)|\bdec\.|\benc\."),
    ("recurrence", r"\b(ssm|time_mix|shortconv)_?"),
)


def matrices_of(node: Node) -> int:
    """How many of the node's first weights are matrices that it multiplies by, or takes rows of."""
    if node.op == "packed_linear":
        return int(node.attrs["n"])
    if node.op in ("gated_linear", "latent_attend"):
        return 2
    return 1 if node.op in ("embed", "linear", "expert_linear") else 0


def used(model: Model) -> Iterator[tuple[Node, Weight, bool]]:
    """Each stored tensor once, where it is used first, and whether as a matrix; one that is used as both comes twice."""
    seen = set()
    for graph in model.entries.values():
        for node in graph.nodes:
            for i, weight in enumerate(node.weights):
                if weight is not None and (key := (id(weight.tensor), i < matrices_of(node))) not in seen:
                    seen.add(key)
                    yield node, weight, key[1]


def part_of(weight: Weight) -> str:
    """``embeddings``, ``attention``, ..., or ``norms and others``."""
    name = re.sub(r"^(enc\.|dec\.)?blk\.\d+\.", "", weight.name)
    return next((part for part, pattern in PARTS if re.search(pattern, name)), "norms and others")


def by_part(model: Model, held: Held) -> dict[str, int]:
    """Bytes of each part, in the order in which a token meets them."""
    found: dict[str, int] = {}
    for _, weight, matrix in used(model):
        found[part_of(weight)] = found.get(part_of(weight), 0) + held(weight, matrix)
    return found


def read_per_token(model: Model, held: Held) -> int:
    """Bytes of matrices that decoding one token reads: all that it is multiplied by, and of experts those that are chosen."""
    total, seen = 0, set()
    for node in model.entries["forward"].nodes:
        for weight in node.weights[: 0 if node.op == "embed" else matrices_of(node)]:
            if weight is None or id(weight.tensor) in seen:
                continue
            seen.add(id(weight.tensor))
            chosen = 1.0
            if node.op == "expert_linear":
                k = node.inputs[1].shape[1]
                assert isinstance(k, int)
                chosen = k / weight.shape[0]
            total += int(held(weight, True) * chosen)
    return total
