"""Each native kernel against the reference kernel on random inputs of odd shapes, for every instruction set of the machine.

A case builds a graph of one op or a few. Its inputs are rows of random constants that the batch's tokens choose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from heron.backends import native, reference
from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.checkpoint.views import Const
from heron.graph.builder import Builder
from heron.graph.dims import P, T
from heron.graph.graph import Field, Group, Model, Traits, Value, Weight
from heron.graph.ops_core import ACTIVATIONS

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")

VOCAB = 61
TOLERANCE = 3e-6  # of the largest number: about fifty roundings of f32


def instruction_sets() -> list[str]:
    from heron import _core

    return list(_core.instruction_sets())


@dataclass
class Case:
    """A graph in the making, with a source of random values and weights."""

    seed: int = 0
    b: Builder = field(default_factory=lambda: Builder("forward"))

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.tokens = self.b.input("tokens", (T,), "i32")
        self.positions = self.b.input("positions", (P, T), "i32")

    def weight(self, *shape: int, scale: float = 1.0) -> Weight:
        return Weight(f"w{self.rng.integers(1 << 30)}", Const(self.rng.normal(0, scale, shape)))

    def x(self, *shape: int) -> Value:
        """Random values [T, *shape]."""
        rows = self.b.embed(self.tokens, self.weight(VOCAB, int(np.prod(shape))))
        return self.b.reshape(rows, T, *shape) if len(shape) > 1 else rows

    def kv(self, heads: int, dim: int, value_dim: int, window: int = 0) -> tuple[Value, Value, Any]:
        group = Group("all", "token", window, 4)
        fields = {"key": Field((heads, dim)), "value": Field((heads, value_dim))}
        return self.x(heads, dim), self.x(heads, value_dim), self.b.state("kv", group, **fields)


Build = Callable[[Case], Value | tuple[Value, ...]]


def attention(heads: int, shared: int, dim: int, value_dim: int, **attrs: Any) -> Build:
    def build(c: Case) -> Value:
        key, value, state = c.kv(shared, dim, value_dim, attrs.get("window", 0))
        weights = [c.weight(heads) if attrs.get("sinks") else None, None, c.weight(heads, scale=0.02) if attrs.get("slopes") else None]
        given = {k: v for k, v in attrs.items() if k not in ("sinks", "slopes")}
        return c.b.attention(c.x(heads, dim), key, value, state, weights, scale=1.3 / dim**0.5, **({"causal": True} | given))

    return build


def stateless(heads: int, shared: int, dim: int, **attrs: Any) -> Build:
    def build(c: Case) -> Value:
        return c.b.attend(c.x(heads, dim), c.x(shared, dim), c.x(shared, dim), scale=dim**-0.5, **attrs)

    return build


def rope(pairing: str, heads: int, dim: int, turned: int, scale: float = 1.0, sections: tuple[int, ...] = ()) -> Build:
    def build(c: Case) -> Value:
        return c.b.rope(c.x(heads, dim), c.positions, c.weight(turned), pairing, scale, sections)

    return build


def experts(c: Case) -> tuple[Value, ...]:
    x, (_, ids) = c.x(33), c.b.topk(c.x(9), 3)
    up = c.b.expert_linear(x, ids, c.weight(9, 17, 33), c.weight(9, 17))
    return up, c.b.expert_linear(up, ids, c.weight(9, 33, 17))


CASES: dict[str, Build] = {
    "embed": lambda c: c.x(37),
    "linear": lambda c: c.b.linear(c.x(37), c.weight(43, 37), c.weight(43)),
    "linear, one output": lambda c: c.b.linear(c.x(5), c.weight(1, 5)),
    "linear of heads": lambda c: c.b.linear(c.x(3, 19), c.weight(8, 19)),
    "packed_linear": lambda c: c.b.packed_linear(c.x(64), [c.weight(n, 64) for n in (48, 7, 7)], [None, c.weight(7), None]),
    "gated_linear": lambda c: c.b.gated_linear(c.x(64), [c.weight(151, 64) for _ in range(2)], [None, c.weight(151)], "silu"),
    "gated_linear of many": lambda c: c.b.gated_linear(c.x(96), [c.weight(640, 96) for _ in range(2)], [c.weight(640)] * 2, "gelu"),
    "rms_norm": lambda c: c.b.rms_norm(c.x(131), c.weight(131), 1e-5),
    "rms_norm without gain": lambda c: c.b.rms_norm(c.x(3, 7), None, 1e-5),
    "rms_norm, a gain each head": lambda c: c.b.rms_norm(c.x(3, 7), c.weight(3, 7), 1e-5),
    "layer_norm": lambda c: c.b.layer_norm(c.x(131), c.weight(131), c.weight(131), 1e-5),
    "add_rms_norm": lambda c: c.b.add_rms_norm(c.x(70), c.x(70), c.weight(70), 1e-6),
    "add": lambda c: c.b.add(c.x(5, 7), c.x(5, 7)),
    "add, broadcast": lambda c: c.b.add(c.x(5, 7), c.x(5, 1)),
    "mul, broadcast first": lambda c: c.b.mul(c.x(1), c.x(37)),
    "mul, broadcast a middle axis": lambda c: c.b.mul(c.x(5, 1, 3), c.x(5, 7, 3)),
    "bias": lambda c: c.b.bias(c.x(5, 7), c.weight(7)),
    "gain": lambda c: c.b.gain(c.x(5, 7), c.weight(5, 1)),
    "scale": lambda c: c.b.scale(c.x(37), 0.37),
    "clamp": lambda c: c.b.clamp(c.x(37), -0.5, 0.75),
    **{f"activation {kind}": (lambda c, kind=kind: c.b.activation(c.b.scale(c.x(37), 4.0), kind)) for kind in ACTIVATIONS},
    **{f"glu {kind}": (lambda c, kind=kind: c.b.glu(c.x(37), c.x(37), kind)) for kind in ("silu", "gelu")},
    "softmax": lambda c: c.b.softmax(c.x(37)),
    "sum": lambda c: c.b.sum(c.x(3, 37)),
    "columns": lambda c: c.b.columns(c.x(3, 37), Weight("order", Const(c.rng.permutation(37)))),
    "normalize": lambda c: c.b.normalize(c.b.softmax(c.x(7)), 1e-4),
    "split and concat": lambda c: c.b.concat(*reversed(c.b.split(c.x(3, 22), 5, 16, 1))),
    "rows": lambda c: c.b.rows(c.x(3, 7)),
    **{f"pool {kind}": (lambda c, kind=kind: c.b.pool(c.x(19), kind)) for kind in ("mean", "cls", "last")},
    "topk": lambda c: c.b.topk(c.x(3, 9), 4)[0],
    "topk_mask": lambda c: c.b.topk_mask(c.x(9), 4),
    "mask_fill": lambda c: c.b.mask_fill(c.x(3, 5), c.b.reshape(c.b.topk_mask(c.x(3), 2), T, 3, 1), -7.0),
    "take": lambda c: c.b.take(c.x(9), c.b.topk(c.x(9), 4)[1]),
    "expert_linear": experts,
    "combine": lambda c: c.b.combine(c.x(3, 19), c.x(3)),
    "insert_embeds": lambda c: c.b.insert_embeds(c.x(6)),
    "rope adjacent": rope("adjacent", 3, 18, 9),
    "rope half": rope("half", 3, 34, 17),
    "rope of a part, scaled": rope("half", 2, 19, 5, scale=1.2),
    "rope, sections": rope("half", 2, 16, 8, sections=(3, 5)),
    "attention": attention(4, 4, 24, 24),
    "attention, grouped": attention(6, 2, 33, 17),
    "attention, many queries a key": attention(70, 1, 8, 8),
    "attention, window": attention(6, 2, 16, 16, window=9),
    "attention, softcap": attention(4, 2, 16, 16, softcap=3.0),
    "attention, sinks": attention(4, 2, 16, 16, sinks=True),
    "attention, slopes": attention(4, 2, 16, 16, slopes=True),
    "attention, slopes and a window": attention(6, 2, 8, 8, slopes=True, window=5),
    "attention, both ways": attention(4, 2, 16, 16, causal=False),
    "attend without state": stateless(4, 2, 19, causal=False),
    "attend without state, window": stateless(4, 2, 19, causal=False, window=5),
}


def model_of(build: Build) -> Model:
    case = Case()
    made = build(case)
    values = made if isinstance(made, tuple) else (made,)
    graph = case.b.finish(**{f"out{i}": value for i, value in enumerate(values)})
    return Model("test", {"forward": graph}, 0, VOCAB, 0, Traits())


def batches() -> list[Batch]:
    """Two steps: three sequences of 1, 5 and 300 tokens, then 3, 0 and 2 more of each, with scattered blocks."""
    rng = np.random.default_rng(1)
    blocks = rng.permutation(np.arange(1, 400)).astype(np.int32).reshape(3, -1)
    steps, before = [], np.zeros(3, np.int32)
    for lengths in ([1, 5, 300], [3, 1, 2]):
        starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        total = int(starts[-1])
        before = before + np.asarray(lengths, np.int32)
        steps.append(
            Batch(
                tokens=rng.integers(0, VOCAB, total).astype(np.int32),
                query_start=starts,
                context_len=before,
                rows=np.array([total - 1, 0], np.int32),
                positions=rng.integers(0, 50, (2, total)).astype(np.int32),
                tables={"all": blocks},
                embeds=rng.normal(size=(2, 6)).astype(np.float32),
                embed_rows=np.array([total - 1, 2], np.int32),
            )
        )
    return steps


def outputs(backend: Any, model: Model, options: Options) -> list[np.ndarray]:
    executable = backend.prepare(model, options=options)
    executable.allocate(dict.fromkeys(model.groups, 400))
    want = tuple(model.entries["forward"].outputs)
    return [executable.run("forward", batch, want)[name] for batch in batches() for name in want]


@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
@pytest.mark.parametrize("name", CASES)
def test_kernel(name: str, isa: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setenv("HERON_ISA", isa)
    model = model_of(CASES[name])
    ours = outputs(native, model, Options(threads=2, activations="f32"))
    assert not recwarn.list  # nothing fell back to the reference
    for a, b in zip(ours, outputs(reference, model, Options()), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
@pytest.mark.parametrize("kv_dtype", ["f32", "q8_0"])
def test_cache_dtypes(kv_dtype: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERON_ISA", isa)
    model = model_of(attention(6, 2, 32, 64))
    options = Options(kv_dtype=kv_dtype, threads=2)
    for a, b in zip(outputs(native, model, options), outputs(reference, model, options), strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
def test_what_is_stored_is_equal_bit_for_bit(kv_dtype: str, isa: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERON_ISA", isa)
    model = model_of(attention(6, 2, 32, 64))
    stored = []
    for backend in (native, reference):
        executable = backend.prepare(model, options=Options(kv_dtype=kv_dtype))
        executable.allocate({"all": 400})
        executable.run("forward", batches()[0], ("out0",))
        stored.append(executable.export("all", range(1, 400)))
    assert stored[0] == stored[1]
    assert any(stored[0])
