"""A small decoder with random weights that uses most ops, for tests of backends; and batches of its sequences."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Executable
from heron.backends.batch import Batch
from heron.checkpoint.views import Const
from heron.graph.builder import Builder
from heron.graph.dims import P, T
from heron.graph.graph import Field, Group, Model, Traits, Value, Weight
from heron.quant.formats import FORMATS

VOCAB, HIDDEN, HEADS, SHARED, DIM, EXPERTS = 97, 64, 4, 2, 32, 5
BLOCK = 4
WINDOW = 21


class Weights:
    """Random weights, the same for the same seed; matrices in ``format``."""

    def __init__(self, format: str, seed: int = 0) -> None:
        self.rng, self.format, self.count = np.random.default_rng(seed), FORMATS[format], 0

    def __call__(self, *shape: int, scale: float = 0.0) -> Weight:
        self.count += 1
        matrix = len(shape) > 1
        values = self.rng.normal(0, scale or shape[-1] ** -0.5, shape) if matrix else 1 + self.rng.normal(0, 0.2, shape)
        return Weight(f"w{self.count}", Const(values, format=self.format if matrix else FORMATS["F32"]))


def toy(format: str = "F32", layers: int = 2, recurrent: bool = False, seed: int = 0) -> Model:
    """Grouped attention, every second layer with a window; a gated MLP in the first layer, experts in the others; tied embedding.

    With ``recurrent``, a delta rule's output is added after the first layer.
    """
    w, b = Weights(format, seed), Builder("forward")
    tokens, positions = b.input("tokens", (T,), "i32"), b.input("positions", (P, T), "i32")
    embedding, frequencies = w(VOCAB, HIDDEN, scale=1.0), Weight("rope", Const(1e4 ** -(np.arange(DIM // 2) / (DIM // 2))))
    groups = (Group("full", "token", 0, BLOCK), Group("window", "token", WINDOW, BLOCK))
    x = b.insert_embeds(b.embed(tokens, embedding))
    y = b.rms_norm(x, w(HIDDEN), 1e-6)
    for i in range(layers):
        group = groups[i % 2]
        b.mark(f"hidden:{i}", x)
        sizes = (HEADS * DIM, SHARED * DIM, SHARED * DIM)
        q, k, v = b.packed_linear(y, [w(n, HIDDEN, scale=0.3) for n in sizes], [None, w(SHARED * DIM), None])
        q, k, v = b.reshape(q, T, HEADS, DIM), b.reshape(k, T, SHARED, DIM), b.reshape(v, T, SHARED, DIM)
        state = b.state(f"blk.{i}.kv", group, key=Field((SHARED, DIM)), value=Field((SHARED, DIM)))
        attrs = {"pairing": "half", "scale": DIM**-0.5, "causal": True, "window": group.window}
        out = b.rope_attention(q, k, v, positions, frequencies, state, **attrs)
        out = b.linear(b.reshape(out, T, HEADS * DIM), w(HIDDEN, HEADS * DIM))
        if recurrent and i == 0:
            out = b.add(out, _recurrent(b, w, y))
        x, y = b.add_rms_norm(x, out, w(HIDDEN), 1e-6)
        out = _experts(b, w, y) if i else _gated(b, w, y)
        x, y = b.add_rms_norm(x, out, w(HIDDEN), 1e-6)
    graph = b.finish(logits=b.linear(b.rows(y), embedding))
    return Model("toy", {"forward": graph}, 0, VOCAB, HIDDEN, Traits())


def _gated(b: Builder, w: Weights, y: Value) -> Value:
    gate, up = b.packed_linear(y, [w(96, HIDDEN), w(96, HIDDEN)], [None, None])
    return b.linear(b.glu(gate, up, "silu"), w(HIDDEN, 96))


def _experts(b: Builder, w: Weights, y: Value) -> Value:
    scores = b.softmax(b.linear(y, w(EXPERTS, HIDDEN, scale=0.5)))
    _, ids = b.topk(scores, 2)
    gate, up = (b.expert_linear(y, ids, w(EXPERTS, 32, HIDDEN)) for _ in range(2))
    return b.combine(b.expert_linear(b.glu(gate, up, "silu"), ids, w(EXPERTS, HIDDEN, 32)), b.normalize(b.take(scores, ids), 1e-5))


def _recurrent(b: Builder, w: Weights, y: Value) -> Value:
    q, k, v = (b.reshape(b.linear(y, w(HIDDEN, HIDDEN, scale=0.05)), T, 2, HIDDEN // 2) for _ in range(3))
    beta = b.activation(b.linear(y, w(2, HIDDEN)), "sigmoid")
    state = b.state("delta", Group("slots", "slot"), matrix=Field((2, HIDDEN // 2, HIDDEN // 2), "f32"))
    return b.reshape(b.delta_rule(q, k, v, b.scale(beta, -1.0), beta, state), T, HIDDEN)


class Sequences:
    """Some sequences in an executable, which steps of any mixture of them continue."""

    def __init__(self, executable: Executable, model: Model, tokens: Sequence[NDArray[np.int32]]) -> None:
        self.executable, self.model, self.tokens = executable, model, tokens
        self.done = [0] * len(tokens)
        self.units = 2 + sum(-(-len(t) // BLOCK) + 1 for t in tokens)
        executable.allocate({name: self.units if g.kind == "token" else len(tokens) + 1 for name, g in model.groups.items()})
        order = np.random.default_rng(5).permutation(np.arange(1, self.units))
        self.blocks, at = [], 0
        for t in tokens:
            count = -(-len(t) // BLOCK)
            self.blocks.append(order[at : at + count])
            at += count

    def batch(self, counts: dict[int, int], *, slide: bool = False) -> Batch:
        """The step that continues sequence s by ``counts[s]`` tokens, with logits of all. ``slide`` gives back what windows have passed."""
        names = list(counts)
        parts = [self.tokens[s][self.done[s] : self.done[s] + counts[s]] for s in names]
        width = max(len(self.blocks[s]) for s in names)
        full = np.zeros((len(names), width), np.int32)
        start = np.zeros(len(names), np.int32)
        window = np.zeros_like(full)
        for row, s in enumerate(names):
            full[row, : len(self.blocks[s])] = self.blocks[s]
            start[row] = max(0, self.done[s] - WINDOW + 1) // BLOCK if slide else 0
            kept = self.blocks[s][start[row] :]
            window[row, : len(kept)] = kept
        lengths = [counts[s] for s in names]
        slots = np.array(names, np.int32) + 1
        batch = Batch(
            tokens=np.concatenate(parts).astype(np.int32),
            query_start=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32),
            context_len=np.array([self.done[s] + counts[s] for s in names], np.int32),
            rows=np.arange(sum(lengths), dtype=np.int32),
            tables={"full": full, "window": window},
            table_start={"window": start},
            slot_read=np.where(np.array([self.done[s] for s in names]) > 0, slots, 0).astype(np.int32),
            slot_write=slots[:, None],
        )
        for s in names:
            self.done[s] += counts[s]
        return batch

    def run(self, counts: dict[int, int], want: tuple[str, ...] = ("logits",), *, slide: bool = False) -> dict[int, NDArray[np.float32]]:
        """The first wanted output of each sequence's tokens in this step."""
        array = self.executable.run("forward", self.batch(counts, slide=slide), want)[want[0]]
        return dict(zip(counts, np.split(array, np.cumsum(list(counts.values()))[:-1]), strict=True))
