"""Every format in every op that multiplies by weights or takes rows of them, on each backend and by the reference."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from random_blocks import random_rows

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.checkpoint.tensor import MappedTensor
from heron.checkpoint.views import Const
from heron.graph.builder import Builder
from heron.graph.dims import P, T
from heron.graph.graph import Model, Traits, Weight
from heron.quant.formats import FORMATS, Format

VOCAB, OUT, EXPERTS, USED = 23, 37, 5, 2


class Stored:
    """Weights of random blocks in one format."""

    def __init__(self, fmt: Format) -> None:
        self.fmt, self.rng = fmt, np.random.default_rng(abs(fmt.id))

    def __call__(self, *shape: int) -> Weight:
        rows = random_rows(self.fmt, int(np.prod(shape[:-1])), shape[-1], self.rng)
        return Weight(f"w{self.rng.integers(1 << 30)}", MappedTensor(rows.reshape(-1), shape, self.fmt))


def model(fmt: Format) -> Model:
    """Rows of an embedding; products of random x with a matrix, with two at once, and with experts that it is routed to."""
    weight, b, k = Stored(fmt), Builder("forward"), 2 * max(fmt.block, 32)
    tokens, _ = b.input("tokens", (T,), "i32"), b.input("positions", (P, T), "i32")
    x = b.embed(tokens, Weight("x", Const(weight.rng.standard_normal((VOCAB, k)))))
    _, ids = b.topk(b.embed(tokens, Weight("routes", Const(weight.rng.standard_normal((VOCAB, EXPERTS))))), USED)
    first, second = b.packed_linear(x, [weight(OUT, k), weight(9, k)], [None, None])
    graph = b.finish(
        embed=b.embed(tokens, weight(VOCAB, k)),
        linear=b.linear(x, weight(OUT, k)),
        first=first,
        second=second,
        experts=b.expert_linear(x, ids, weight(EXPERTS, OUT, k)),
    )
    return Model("test", {"forward": graph}, 0, VOCAB, 0, Traits())


def outputs(backend: object, made: Model, n: int = 40, **options: str) -> dict[str, NDArray[np.float32]]:
    tokens = np.random.default_rng(0).integers(0, VOCAB, 40)[:n].astype(np.int32)
    batch = Batch(tokens, np.array([0, n], np.int32), np.array([n], np.int32), np.array([n - 1], np.int32))
    executable = backend.prepare(made, options=Options(threads=2, **options))  # type: ignore[attr-defined]
    return executable.run("forward", batch, tuple(made.entries["forward"].outputs)).arrays


@pytest.mark.parametrize("name", sorted(FORMATS))
@pytest.mark.parametrize("n", [40, 2], ids=["more rows than experts", "fewer"])
def test_equal_to_the_reference_on_torch(name: str, n: int) -> None:
    made = model(FORMATS[name])
    meant, got = outputs(reference, made), outputs(on_torch, made, n)
    assert np.array_equal(got.pop("embed").view(np.uint32), meant.pop("embed")[:n].view(np.uint32))
    for op, values in meant.items():
        size = np.abs(values).max(axis=0)  # of each row of weights, over enough tokens that sums do not all cancel
        assert (np.abs(got[op] - values[:n]) <= 2e-5 * size).all(), op


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
@pytest.mark.parametrize("name", sorted(FORMATS))
def test_equal_to_the_reference(name: str) -> None:
    made = model(FORMATS[name])
    meant, exact, shipped = outputs(reference, made), outputs(native, made, activations="f32"), outputs(native, made)
    assert np.array_equal(exact.pop("embed").view(np.uint32), meant["embed"].view(np.uint32))
    assert np.array_equal(shipped.pop("embed").view(np.uint32), meant.pop("embed").view(np.uint32))
    for op, values in meant.items():
        size = np.abs(values).max(axis=0)  # of each row of weights: some have far greater scales
        assert (np.abs(exact[op] - values) <= 2e-5 * size).all(), op
        assert ((shipped[op] - values) ** 2).sum() <= 5e-4 * (values**2).sum(), op
