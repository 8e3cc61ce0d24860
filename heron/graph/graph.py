"""The nouns of a graph: Value, Weight, State, Group, Node, Graph, and Model, the entries over one set of weights.

A graph is built once, when a model is loaded. It holds no numbers and no sequence lengths: those live in the
batch, and only ops read them. Inputs of a node are never mutated; writes to a state are effects, which happen
in the order of the nodes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from heron.checkpoint.tensor import Tensor
from heron.graph.dims import Shape, shape_str


@dataclass(frozen=True, eq=False)
class Value:
    """What a node computes: a dense array of ``shape`` and ``dtype`` (``f32`` or ``i32``)."""

    id: int
    shape: Shape
    dtype: str = "f32"

    def __str__(self) -> str:
        return f"%{self.id}"


@dataclass(frozen=True, eq=False)
class Weight:
    """A named parameter. Many nodes may use one.

    ``tensor`` is a lazy view into the checkpoint (heron/checkpoint/views.py). ``role`` says how tensor
    parallelism splits it: ``rows`` (its inputs), ``columns`` (its outputs), ``vocab``, ``expert``, ``head``
    (along its first axis, by heads) or ``whole``; it is split at multiples of ``unit`` along that axis.
    """

    name: str
    tensor: Tensor
    role: str = "whole"
    unit: int = 1
    trainable: bool = True

    @property
    def shape(self) -> tuple[int, ...]:
        return self.tensor.shape

    def __str__(self) -> str:
        return f"{self.name} {self.tensor.format.name}{shape_str(self.shape)}"


@dataclass(frozen=True)
class Group:
    """States that are addressed alike: one block table (or slot) per sequence serves all of them.

    ``kind`` is ``token`` (a place for each token, in blocks), ``slot`` (one place of fixed size a sequence)
    or ``cross`` (a place for each token of another input, written once). ``window`` > 0 says that only the
    last ``window`` tokens are ever read, so that earlier blocks may be given back.
    """

    name: str
    kind: str
    window: int = 0
    block_size: int = 16


@dataclass(frozen=True)
class Field:
    """One array of a state: its shape for each unit (token or slot); dtype ``kv`` follows the ``kv_dtype`` option."""

    shape: tuple[int, ...]
    dtype: str = "kv"


@dataclass(frozen=True)
class State:
    """Memory that outlives a step, for each sequence. Layers may share one."""

    name: str
    group: str
    fields: tuple[tuple[str, Field], ...]

    def field(self, name: str) -> Field:
        return dict(self.fields)[name]


@dataclass(frozen=True, eq=False)
class Node:
    """One application of an op. ``scope`` (``blk.3.attn``) says where in the model it stands."""

    op: str
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    weights: tuple[Weight | None, ...] = ()
    reads: tuple[State, ...] = ()
    writes: tuple[State, ...] = ()
    attrs: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""

    def __str__(self) -> str:
        left = ", ".join(f"{v} {v.dtype}{shape_str(v.shape)}" for v in self.outputs)
        args = [", ".join(map(str, self.inputs))]
        args += [", ".join("-" if w is None else str(w) for w in self.weights)] if self.weights else []
        line = f"{left} = {self.op}({'; '.join(args)})" if left else f"{self.op}({'; '.join(args)})"
        for verb, states in (("reads", self.reads), ("writes", self.writes)):
            line += f" {verb} {', '.join(s.name for s in states)}" if states else ""
        attrs = " ".join(f"{k}={v:g}" if isinstance(v, float) else f"{k}={v}" for k, v in self.attrs.items())
        return f"{line}  {{{attrs}}}" if attrs else line


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in the order of execution, from named inputs to named outputs.

    ``marks`` names values inside that a pass may turn into outputs (``hidden:3``: the residual stream after
    the third layer).
    """

    name: str
    inputs: Mapping[str, Value]
    outputs: Mapping[str, Value]
    nodes: tuple[Node, ...]
    states: Mapping[str, State]
    groups: Mapping[str, Group]
    marks: Mapping[str, Value] = field(default_factory=dict)

    def weights(self) -> dict[str, Weight]:
        """The weights that the nodes use, by name, in order of first use."""
        return {w.name: w for node in self.nodes for w in node.weights if w is not None}

    def __str__(self) -> str:
        inputs = ", ".join(f"{name} {v} {v.dtype}{shape_str(v.shape)}" for name, v in self.inputs.items())
        lines = [f"graph {self.name}({inputs})"]
        for group in self.groups.values():
            window = f" window={group.window}" if group.window else ""
            lines.append(f"  group {group.name}: {group.kind} block={group.block_size}{window}")
        for state in self.states.values():
            fields = ", ".join(f"{n} {f.dtype}{list(f.shape)}" for n, f in state.fields)
            lines.append(f"  state {state.name}: {state.group} {fields}")
        scope = ""
        for node in self.nodes:
            if node.scope != scope:
                scope = node.scope
                lines.append(f"  {scope}:")
            lines.append(f"    {node}")
        lines.append("  return " + ", ".join(f"{name}={v}" for name, v in self.outputs.items()))
        return "\n".join(lines)


@dataclass(frozen=True)
class Traits:
    """What a model's graphs allow: ``causal`` (logits never depend on later tokens), ``chunkable`` (a prompt may
    be computed in parts), ``rollback`` (tokens may be taken back: by forgetting them, or from a slot snapshot)."""

    causal: bool = True
    chunkable: bool = True
    rollback: bool = True


@dataclass(frozen=True, eq=False)
class Model:
    """Entries (``forward``; for encoders and encoder-decoders ``encode``) over one set of weights and states.

    ``decoder_start`` is the token that decoding begins with where the prompt goes to ``encode``.
    """

    architecture: str
    entries: Mapping[str, Graph]
    context_length: int
    vocab_size: int
    hidden_size: int
    traits: Traits = Traits()
    decoder_start: int | None = None

    @property
    def groups(self) -> dict[str, Group]:
        return {name: group for graph in self.entries.values() for name, group in graph.groups.items()}

    @property
    def states(self) -> dict[str, State]:
        return {name: state for graph in self.entries.values() for name, state in graph.states.items()}
