"""Decoder: embedding, layers, final norm, output head. Nearly every family is one, and says only what its parts are."""

from __future__ import annotations

from dataclasses import dataclass, field

from heron.graph.dims import P, T
from heron.graph.graph import Graph, Model, Traits, Value
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Residual, Stream, Sublayer
from heron.models.builder import ModelBuilder, Weights
from heron.models.params import Params


@dataclass(frozen=True)
class Layer:
    """A mixer (attention, a recurrence), a feed-forward block, and where norms stand around them."""

    mixer: Sublayer
    ffn: Sublayer
    residual: Residual

    def build(self, b: ModelBuilder, x: Value, delta: Value | None) -> Stream:
        return self.residual.build(b, x, delta, self.mixer, self.ffn)


@dataclass(frozen=True)
class Single:
    """A layer that is one sublayer after a norm, ``x += sublayer(norm(x))``: Mamba's have no feed-forward block."""

    sublayer: Sublayer
    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None) -> Stream:
        start, normed = self.norm.enter(b, x, delta, "attn_norm")
        return start, start, self.sublayer.build(b, normed)


@dataclass(frozen=True)
class Head:
    """Logits from hidden states. Without ``output.weight`` the embedding's weights serve. ``softcap`` > 0: cap tanh(x / cap)."""

    scale: float = 1.0
    softcap: float = 0.0

    def build(self, b: ModelBuilder, x: Value, vocab: int) -> Value:
        hidden = x.shape[-1]
        assert isinstance(hidden, int)
        name = "output" if b.has("output.weight") else "token_embd"
        logits = b.linear(x, b.weight(f"{name}.weight", vocab, hidden, role="vocab"), b.maybe("output.bias", vocab, role="vocab"))
        logits = b.scale(logits, self.scale)
        if self.softcap:
            logits = b.scale(b.activation(b.scale(logits, 1 / self.softcap), "tanh"), self.softcap)
        return logits


@dataclass(frozen=True)
class Decoder:
    """A decoder-only language model. ``norm`` is the final one.

    Embeddings are multiplied by ``embedding_scale``; learned ones of ``positions`` places are added to them, where there
    are any; and ``embedding_norm`` is applied.
    """

    layers: tuple[Layer | Single, ...]
    norm: Norm
    head: Head = Head()
    embedding_scale: float = 1.0
    positions: int = 0
    embedding_norm: Norm | None = None
    traits: Traits = field(default_factory=Traits)

    def graph(self, weights: Weights, hidden: int, vocab: int) -> Graph:
        """The ``forward`` entry: tokens [T], positions [P, T] -> logits [R, vocab]; marks ``hidden:i`` [T, hidden]."""
        b = ModelBuilder("forward", weights)
        tokens = b.input("tokens", (T,), "i32")
        positions = b.input("positions", (1 if self.positions else P, T), "i32")
        x = b.embed(tokens, b.weight("token_embd.weight", vocab, hidden, role="vocab"))
        x = b.insert_embeds(b.scale(x, self.embedding_scale))
        if self.positions:
            x = b.add(x, b.embed(b.reshape(positions, T), b.weight("position_embd.weight", self.positions, hidden)))
        if self.embedding_norm:
            x = self.embedding_norm.build(b, x, "token_embd_norm")
        delta: Value | None = None
        for i, layer in enumerate(self.layers):
            with b.layer(f"blk.{i}"):
                start, x, delta = layer.build(b, x, delta)
            b.mark(f"hidden:{i}", start)
        x, normed = self.norm.enter(b, x, delta, "output_norm")
        b.mark(f"hidden:{len(self.layers)}", x)
        b.mark("normed", normed)
        return b.finish(logits=self.head.build(b, b.rows(normed), vocab))

    def model(self, p: Params, weights: Weights) -> Model:
        """Raises CheckpointError where the checkpoint lacks what the parts need."""
        vocab = vocabulary(p, weights)
        graph = self.graph(weights, p.hidden, vocab)
        return Model(p.architecture, {"forward": graph}, p.context_length, vocab, p.hidden, self.traits)


def vocabulary(p: Params, weights: Weights) -> int:
    """The number of rows of the embedding, which is the vocabulary's size whatever the metadata say."""
    tensor = weights.checkpoint.tensors.get("token_embd.weight")
    return tensor.shape[0] if tensor is not None else p.integer("vocab_size", least=1)
