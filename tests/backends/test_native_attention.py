"""Native attention: latents and relative biases against the reference; the same bits however a sequence is divided into steps."""

from __future__ import annotations

from typing import Any

import numpy as np
import parity
import pytest
from numpy.typing import NDArray
from test_native_ops import CASES, TOLERANCE, VOCAB, Build, Case, instruction_sets, model_of, outputs
from tiny_models import OTHERS, make

from heron.backends import native, reference
from heron.backends.base import Executable, Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.views import Const
from heron.graph.graph import Field, Group, Model, Value, Weight
from heron.models.registry import build_model
from heron.quant.formats import FORMATS

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")


def latent(heads: int, rank: int, nope: int, turned: int, values: int, form: str = "auto", format: str = "F32") -> Build:
    def up(c: Case, *shape: int) -> Weight:
        name, exact = "up", c.rng.normal(0, shape[-1] ** -0.5, shape)
        return Weight(name, Const(exact.astype(np.float32), name, FORMATS[format]))

    def build(c: Case) -> Value:
        state = c.b.state("latent", Group("all", "token", 0, 4), latent=Field((rank,)), rope=Field((turned,)))
        c.b.latent_write(c.x(rank), c.x(turned), state)
        weights = up(c, heads, rank, nope), up(c, heads, values, rank)
        return c.b.latent_attend(c.x(heads, nope), c.x(heads, turned), *weights, state, 1.3 / (nope + turned) ** 0.5, form)

    return build


def biased(heads: int, dim: int, buckets: int, max_distance: int, causal: bool, **attrs: Any) -> Build:
    def build(c: Case) -> Value:
        given = {"causal": causal, "max_distance": max_distance, "bidirectional": not causal, "scale": 1.0} | attrs
        weights = (None, c.weight(buckets, heads))
        if not causal:
            return c.b.attend(c.x(heads, dim), c.x(heads, dim), c.x(heads, dim), weights=weights, **given)
        key, value, state = c.kv(heads, dim, dim, attrs.get("window", 0))
        return c.b.attention(c.x(heads, dim), key, value, state, weights, **given)

    return build


OURS: dict[str, Build] = {
    "latent": latent(4, 32, 24, 16, 20),
    "latent, odd": latent(3, 33, 7, 5, 9),
    "latent of one head": latent(1, 16, 8, 4, 8, form="absorbed"),
    "latent, more heads than a tile": latent(80, 16, 8, 4, 8),
    "relative bias": biased(3, 8, 12, 20, causal=True),
    "relative bias, T5's own": biased(2, 8, 32, 128, causal=True),
    "relative bias, both ways": biased(2, 8, 32, 128, causal=False),
    "relative bias, both ways, near": biased(3, 5, 7, 9, causal=False),
    "relative bias in a window": biased(2, 8, 8, 16, causal=True, window=11),
}
ALL = {name: build for name, build in CASES.items() if name.startswith("attention") and "both ways" not in name} | {
    name: build for name, build in OURS.items() if "both ways" not in name
}


@pytest.mark.parametrize("isa", instruction_sets() if native.available() else [])
@pytest.mark.parametrize("name", OURS)
def test_kernel(name: str, isa: str, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder) -> None:
    monkeypatch.setenv("HERON_ISA", isa)
    model = model_of(OURS[name])
    ours = outputs(native, model, Options(threads=2, activations="f32"))
    assert not recwarn.list  # nothing fell back to the reference
    for a, b in zip(ours, outputs(reference, model, Options()), strict=True):
        assert np.isfinite(b).all()
        np.testing.assert_allclose(a, b, rtol=0, atol=TOLERANCE * np.abs(b).max())


@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("format", ["F32", "Q8_0"])
def test_latents_as_they_are_stored(kv_dtype: str, format: str) -> None:
    model = model_of(latent(4, 64, 32, 32, 48, format=format))
    for activations in ("f32", "int8"):
        ours = outputs(native, model, Options(threads=2, kv_dtype=kv_dtype, activations=activations))
        off = TOLERANCE if activations == "f32" or format == "F32" else 0.02
        for a, b in zip(ours, outputs(reference, model, Options(kv_dtype=kv_dtype)), strict=True):
            np.testing.assert_allclose(a, b, rtol=0, atol=off * np.abs(b).max())


def test_the_expanded_form_is_left_to_the_reference() -> None:
    """Its last bits differ from the absorbed form's, so the native kernel never chooses it."""
    with pytest.warns(UserWarning, match="latent_attend run on the"):
        native.prepare(model_of(latent(2, 16, 8, 4, 8, form="expanded")))


def prepared(model: Model, backend: Any = native, threads: int = 2) -> Executable:
    executable: Executable = backend.prepare(model, options=Options(threads=threads))
    executable.allocate({"all": 200})
    return executable


def step(parts: dict[int, NDArray[np.int32]], done: dict[int, int]) -> Batch:
    """Parts of sequences, each with a hundred scattered blocks; counts what is done."""
    blocks = np.random.default_rng(1).permutation(np.arange(1, 199)).reshape(2, -1).astype(np.int32)
    lengths = [len(part) for part in parts.values()]
    starts = np.cumsum([0, *lengths]).astype(np.int32)
    for s, part in parts.items():
        done[s] += len(part)
    return Batch(
        tokens=np.concatenate(list(parts.values())),
        query_start=starts,
        context_len=np.array([done[s] for s in parts], np.int32),
        rows=np.zeros(0, np.int32),
        positions=np.zeros((1, starts[-1]), np.int32),
        tables={"all": blocks[list(parts)]},
    )


@pytest.mark.parametrize("threads", [1, 2, 9])
@pytest.mark.parametrize("name", ALL)
def test_the_same_bits_however_a_sequence_is_divided(name: str, threads: int) -> None:
    model, rng = model_of(ALL[name]), np.random.default_rng(2)
    tokens, other = (rng.integers(0, VOCAB, 300).astype(np.int32) for _ in range(2))
    expected = prepared(model, threads=1).run("forward", step({0: tokens}, {0: 0}), ("out0",))["out0"]
    for sizes in ([300], [1] * 30 + [270], [297, 1, 1, 1], [150, 7, 143]):
        executable, done, got = prepared(model, threads=threads), {0: 0, 1: 0}, []
        for i, size in enumerate(sizes):
            beside = {1: other[done[1] : done[1] + i % 4]} if i % 2 else {}
            result = executable.run("forward", step(beside | {0: tokens[done[0] : done[0] + size]}, done), ("out0",))["out0"]
            got.append(result[-size:])
        np.testing.assert_array_equal(np.concatenate(got), expected)


def test_a_tree_of_drafts_that_attend_to_latents() -> None:
    model, tokens, results = model_of(OURS["latent"]), np.arange(46, dtype=np.int32), []
    for backend in (native, reference):
        executable, done = prepared(model, backend), {0: 0}
        executable.run("forward", step({0: tokens[:40]}, done), ("out0",))
        drafts = step({0: tokens[40:]}, done)
        drafts.parents = np.array([-1, 0, 0, 1, -1, 2], np.int32)
        results.append(executable.run("forward", drafts, ("out0",))["out0"])
    np.testing.assert_allclose(*results, rtol=0, atol=TOLERANCE * np.abs(results[1]).max())


@pytest.mark.parametrize("name", [name for name in OTHERS if "deepseek" in name])
def test_whole_models_of_latents_give_the_same_bits(name: str, tmp_path: Any, recwarn: pytest.WarningsRecorder) -> None:
    model = build_model(Checkpoint(make(name, tmp_path).folder))
    tokens = parity.prompt(model.vocab_size, 40)

    def runner(threads: int) -> parity.Runner:
        return parity.Runner(model, lambda m, o: native.prepare(m, options=o), Options(threads=threads))

    expected = parity.whole(runner(1), tokens)
    for way in (parity.chunks, parity.one_by_one):
        np.testing.assert_array_equal(way(runner(2), tokens), expected)
    mixed = parity.ragged(runner(2), [tokens, parity.prompt(model.vocab_size, 31, 1), parity.prompt(model.vocab_size, 19, 2)])
    np.testing.assert_array_equal(mixed[0], expected)
    assert not [str(w.message) for w in recwarn.list if "reference kernels" in str(w.message)]
