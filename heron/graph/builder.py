"""Builder: what blocks call to put nodes into a graph, one method an op, and what they ask for weights and states."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

# The modules of rules register their ops when they are imported.
from heron.graph import ops_attention, ops_core, ops_fused, ops_parallel, ops_recurrent, ops_routing  # noqa: F401
from heron.graph.dims import Shape
from heron.graph.graph import Field, Graph, Group, Node, State, Value, Weight
from heron.graph.ops import OPS


class Builder:
    """Collects the nodes of one graph. ``finish`` returns it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.inputs: dict[str, Value] = {}
        self.nodes: list[Node] = []
        self.states: dict[str, State] = {}
        self.groups: dict[str, Group] = {}
        self.marks: dict[str, Value] = {}
        self._scope: list[str] = []
        self._ids = 0

    def value(self, shape: Shape, dtype: str = "f32") -> Value:
        self._ids += 1
        return Value(self._ids, shape, dtype)

    def input(self, name: str, shape: Shape, dtype: str = "f32") -> Value:
        self.inputs[name] = self.value(shape, dtype)
        return self.inputs[name]

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        self._scope.append(name)
        try:
            yield
        finally:
            self._scope.pop()

    def call(
        self,
        op: str,
        inputs: Sequence[Value] = (),
        weights: Sequence[Weight | None] = (),
        *,
        reads: Sequence[State] = (),
        writes: Sequence[State] = (),
        **attrs: Any,
    ) -> tuple[Value, ...]:
        """Append a node. Raises ValueError where the op's shape rule refuses."""
        rule = OPS[op]
        shapes = rule.shape(tuple(v.shape for v in inputs), tuple(weights), attrs)
        dtypes = rule.dtypes or (inputs[0].dtype if op in ("reshape", "split") else "f32",) * len(shapes)
        outputs = tuple(self.value(s, d) for s, d in zip(shapes, dtypes, strict=True))
        scope = ".".join(self._scope)
        self.nodes.append(Node(op, tuple(inputs), outputs, tuple(weights), tuple(reads), tuple(writes), attrs, scope))
        return outputs

    def mark(self, name: str, value: Value) -> None:
        self.marks[name] = value

    def finish(self, **outputs: Value) -> Graph:
        return Graph(self.name, self.inputs, outputs, tuple(self.nodes), self.states, self.groups, self.marks)

    # States

    def state(self, name: str, group: Group, **fields: Field) -> State:
        """Declare a state, or find the one that another layer declared under this name."""
        self.groups.setdefault(group.name, group)
        return self.states.setdefault(name, State(name, group.name, tuple(fields.items())))

    # Plain ops: shapes and meanings stand in the modules of rules

    def embed(self, ids: Value, weight: Weight) -> Value:
        return self.call("embed", (ids,), (weight,))[0]

    def insert_embeds(self, x: Value) -> Value:
        return self.call("insert_embeds", (x,))[0]

    def linear(self, x: Value, weight: Weight, bias: Weight | None = None) -> Value:
        return self.call("linear", (x,), (weight, bias))[0]

    def rms_norm(self, x: Value, gain: Weight | None, eps: float) -> Value:
        return self.call("rms_norm", (x,), (gain,), eps=eps)[0]

    def layer_norm(self, x: Value, gain: Weight | None, bias: Weight | None, eps: float) -> Value:
        return self.call("layer_norm", (x,), (gain, bias), eps=eps)[0]

    def add(self, x: Value, y: Value) -> Value:
        return self.call("add", (x, y))[0]

    def mul(self, x: Value, y: Value) -> Value:
        return self.call("mul", (x, y))[0]

    def bias(self, x: Value, weight: Weight) -> Value:
        return self.call("bias", (x,), (weight,))[0]

    def gain(self, x: Value, weight: Weight) -> Value:
        return self.call("gain", (x,), (weight,))[0]

    def scale(self, x: Value, factor: float) -> Value:
        return x if factor == 1.0 else self.call("scale", (x,), factor=float(factor))[0]

    def clamp(self, x: Value, low: float, high: float) -> Value:
        return self.call("clamp", (x,), low=float(low), high=float(high))[0]

    def activation(self, x: Value, kind: str) -> Value:
        return self.call("activation", (x,), kind=kind)[0]

    def softmax(self, x: Value) -> Value:
        return self.call("softmax", (x,))[0]

    def reshape(self, x: Value, *shape: Any) -> Value:
        return self.call("reshape", (x,), shape=shape)[0]

    def split(self, x: Value, *sizes: int) -> tuple[Value, ...]:
        return self.call("split", (x,), sizes=sizes)

    def concat(self, *values: Value) -> Value:
        return self.call("concat", values)[0]

    def columns(self, x: Value, order: Weight) -> Value:
        return self.call("columns", (x,), (order,))[0]

    def sum(self, x: Value) -> Value:
        return self.call("sum", (x,))[0]

    def rows(self, x: Value) -> Value:
        return self.call("rows", (x,))[0]

    def pool(self, x: Value, kind: str) -> Value:
        return self.call("pool", (x,), kind=kind)[0]

    # Positions and attention

    def rope(
        self, x: Value, positions: Value, frequencies: Weight, pairing: str, scale: float = 1.0, sections: tuple[int, ...] = ()
    ) -> Value:
        attrs: dict[str, Any] = {"pairing": pairing, "scale": scale} | ({"sections": sections} if sections else {})
        return self.call("rope", (x, positions), (frequencies,), **attrs)[0]

    def kv_write(self, key: Value, value: Value, state: State) -> None:
        self.call("kv_write", (key, value), writes=(state,))

    def attend(
        self, query: Value, *key_value: Value, state: State | None = None, weights: Sequence[Weight | None] = (), **attrs: Any
    ) -> Value:
        return self.call("attend", (query, *key_value), weights, reads=(state,) if state else (), **attrs)[0]

    def latent_write(self, latent: Value, rope_key: Value, state: State) -> None:
        self.call("latent_write", (latent, rope_key), writes=(state,))

    def latent_attend(
        self, nope: Value, rope: Value, key_up: Weight, value_up: Weight, state: State, scale: float, form: str = "auto"
    ) -> Value:
        return self.call("latent_attend", (nope, rope), (key_up, value_up), reads=(state,), scale=scale, form=form)[0]

    # Routing

    def topk(self, x: Value, k: int) -> tuple[Value, Value]:
        values, ids = self.call("topk", (x,), k=k)
        return values, ids

    def topk_mask(self, x: Value, k: int) -> Value:
        return self.call("topk_mask", (x,), k=k)[0]

    def mask_fill(self, x: Value, mask: Value, value: float) -> Value:
        return self.call("mask_fill", (x, mask), value=value)[0]

    def take(self, x: Value, ids: Value) -> Value:
        return self.call("take", (x, ids))[0]

    def normalize(self, x: Value, floor: float) -> Value:
        return self.call("normalize", (x,), floor=floor)[0]

    def expert_linear(self, x: Value, ids: Value, weight: Weight, bias: Weight | None = None) -> Value:
        return self.call("expert_linear", (x, ids), (weight, bias), first=0)[0]

    def combine(self, x: Value, weights: Value) -> Value:
        return self.call("combine", (x, weights))[0]

    # Recurrent mixers

    def causal_conv(self, x: Value, weight: Weight, bias: Weight | None, state: State) -> Value:
        return self.call("causal_conv", (x,), (weight, bias), reads=(state,), writes=(state,))[0]

    def selective_scan(self, x: Value, step: Value, write: Value, read: Value, rate: Weight, state: State) -> Value:
        return self.call("selective_scan", (x, step, write, read), (rate,), reads=(state,), writes=(state,))[0]

    def delta_rule(self, q: Value, k: Value, v: Value, g: Value, beta: Value, state: State) -> Value:
        return self.call("delta_rule", (q, k, v, g, beta), reads=(state,), writes=(state,))[0]

    # Fused ops

    def packed_linear(self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight | None]) -> tuple[Value, ...]:
        return self.call("packed_linear", (x,), (*weights, *biases), n=len(weights))

    def add_rms_norm(self, x: Value, y: Value, gain: Weight | None, eps: float) -> tuple[Value, Value]:
        total, normed = self.call("add_rms_norm", (x, y), (gain,), eps=eps)
        return total, normed

    def glu(self, gate: Value, up: Value, kind: str, limit: float = 0.0, offset: float = 0.0) -> Value:
        attrs: dict[str, Any] = ({"limit": limit} if limit else {}) | ({"offset": offset} if offset else {})
        return self.call("glu", (gate, up), kind=kind, **attrs)[0]

    def gated_linear(self, x: Value, weights: Sequence[Weight], biases: Sequence[Weight | None], kind: str) -> Value:
        return self.call("gated_linear", (x,), (*weights, *biases), kind=kind)[0]

    def attention(self, q: Value, k: Value, v: Value, state: State, weights: Sequence[Weight | None] = (), **attrs: Any) -> Value:
        return self.call("attention", (q, k, v), weights, reads=(state,), writes=(state,), value_dim=v.shape[-1], **attrs)[0]

    def rope_attention(
        self, q: Value, k: Value, v: Value, positions: Value, frequencies: Weight, state: State, weights: Sequence[Weight | None] = (),
        *, pairing: str, rope_scale: float = 1.0, sections: tuple[int, ...] = (), **attrs: Any,
    ) -> Value:  # fmt: skip
        turn: dict[str, Any] = {"pairing": pairing, "rope_scale": rope_scale} | ({"sections": sections} if sections else {})
        attrs = {"value_dim": v.shape[-1]} | turn | attrs
        return self.call("rope_attention", (q, k, v, positions), (frequencies, *weights), reads=(state,), writes=(state,), **attrs)[0]
