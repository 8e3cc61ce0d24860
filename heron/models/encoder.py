"""Encoder: tokens in, hidden states and one pooled vector a sequence out. A decoder without a mask, a cache or a head."""

from __future__ import annotations

from dataclasses import dataclass

from heron.checkpoint.views import AxisSlice
from heron.errors import UnsupportedError
from heron.graph.dims import P, T
from heron.graph.graph import Graph, Model, Traits, Value
from heron.models.blocks.norm import Norm
from heron.models.builder import ModelBuilder, Weights
from heron.models.decoder import Layer, vocabulary
from heron.models.params import Params

#: GGUF's pooling_type: how hidden states become one vector. None: a text has no single one.
POOLING = {0: "none", 1: "mean", 2: "cls", 3: "last"}


def pooling(p: Params, default: str) -> str:
    """What the checkpoint says of pooling. Raises UnsupportedError for a kind that Heron does not compute."""
    kind = p.integer("pooling_type", next(k for k, name in POOLING.items() if name == default))
    if kind not in POOLING:
        raise UnsupportedError(f"{p.where}: pooling_type {kind} is not supported; known are {', '.join(map(str, POOLING))}")
    return POOLING[kind]


@dataclass(frozen=True)
class Encoder:
    """Learned positions of ``positions`` places and the first token type, where there are any, are added to the embeddings.

    ``norm`` is of the embeddings, if they are normed; ``final_norm`` follows layers that norm what enters them. ``pooling``: see POOLING.
    """

    layers: tuple[Layer, ...]
    norm: Norm | None = None
    positions: int = 0
    final_norm: Norm | None = None
    pooling: str = "mean"

    def graph(self, weights: Weights, hidden: int, vocab: int) -> Graph:
        """The ``encode`` entry: tokens [T], positions [P, T] -> hidden [T, hidden], pooled [S, hidden]; marks ``hidden:i``."""
        b = ModelBuilder("encode", weights)
        tokens = b.input("tokens", (T,), "i32")
        positions = b.input("positions", (1 if self.positions else P, T), "i32")
        places = b.reshape(positions, T) if self.positions else None
        x = b.insert_embeds(b.embed(tokens, b.weight("token_embd.weight", vocab, hidden, role="vocab")))
        if places is not None:
            x = b.add(x, b.embed(places, b.weight("position_embd.weight", self.positions, hidden)))
        if b.has("token_types.weight"):
            x = b.bias(
                x, b.view("token_types.weight", 1, hidden, stored="token_types.weight", look=lambda types: AxisSlice(types, 0, 0, 1))
            )
        if self.norm:
            x = self.norm.build(b, x, "token_embd_norm")
        delta: Value | None = None
        for i, layer in enumerate(self.layers):
            with b.layer(f"blk.{i}"):
                start, x, delta = layer.build(b, x, delta)
            b.mark(f"hidden:{i}", start)
        normed = x
        if self.final_norm:
            x, normed = self.final_norm.enter(b, x, delta, "output_norm")
        b.mark(f"hidden:{len(self.layers)}", x)
        return b.finish(hidden=normed) if self.pooling == "none" else b.finish(hidden=normed, pooled=b.pool(normed, self.pooling))

    def model(self, p: Params, weights: Weights) -> Model:
        vocab = vocabulary(p, weights)
        graph = self.graph(weights, p.hidden, vocab)
        traits = Traits(causal=False, chunkable=False, rollback=False)
        return Model(p.architecture, {"encode": graph}, p.context_length, vocab, p.hidden, traits)
