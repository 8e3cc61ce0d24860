"""The native executor on whole programs: equal to the reference, and the same bits however a sequence is divided into steps."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toy import BLOCK, VOCAB, Sequences, Weights, toy

from heron.backends import native, reference
from heron.backends.base import Adapter, Executable, Options
from heron.backends.batch import Batch
from heron.backends.native import lower
from heron.errors import BackendError, RequestError, UnsupportedError
from heron.graph.builder import Builder
from heron.graph.dims import T
from heron.graph.graph import Field, Group, Model, Traits

pytestmark = pytest.mark.skipif(not native.available(), reason="the core is not compiled")

TOKENS = [np.random.default_rng(s).integers(0, VOCAB, n).astype(np.int32) for s, n in enumerate((301, 40, 17))]
CLOSE = {"rtol": 0, "atol": 8e-4}  # 1e-4 of the standard deviation of the logits, 8.3


def sequences(model: Model, backend: Any = native, tokens: list[NDArray[np.int32]] = TOKENS, **options: Any) -> Sequences:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Sequences(backend.prepare(model, options=Options(**({"threads": 2, "kv_dtype": "f32"} | options))), model, tokens)


def whole(model: Model, backend: Any = native, **options: Any) -> list[NDArray[np.float32]]:
    """Each sequence's logits, computed alone in one step."""
    return [sequences(model, backend, **options).run({s: len(t)})[s] for s, t in enumerate(TOKENS)]


@pytest.mark.parametrize("fuse", [True, False])
def test_equal_to_the_reference(fuse: bool) -> None:
    model = toy()
    for ours, meant in zip(whole(model, fuse=fuse), whole(model, reference), strict=True):
        np.testing.assert_allclose(ours, meant, **CLOSE)


def test_kernels_of_fused_ops_within_fused_ops_are_found() -> None:
    ops = {node.op for node in lower.for_native(toy().entries["forward"], fuse=True).nodes}
    assert {"rope", "attention"} <= ops
    assert not {"rope_attention", "attend", "kv_write"} & ops


@pytest.mark.parametrize("format", ["F16", "BF16", "Q4_0", "Q8_0"])
def test_formats(format: str) -> None:
    model = toy(format)
    meant = whole(model, reference)
    for ours, exact in zip(whole(model, activations="f32"), meant, strict=True):
        np.testing.assert_allclose(ours, exact, **CLOSE)
    error = np.concatenate(whole(model, activations="int8")) - np.concatenate(meant)
    relative = np.sqrt(np.mean(error**2)) / np.concatenate(meant).std()
    # Only quantized weights meet int8 activations; in tiles the others are multiplied in pairs of bf16, of 16 digits.
    assert relative < 1e-4 if format in ("F16", "BF16") else 1e-3 < relative < 0.1


@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize("threads", [1, 2, 9])  # with 9, spans of the long context are computed apart
def test_the_same_bits_however_a_sequence_is_divided(kv_dtype: str, threads: int) -> None:
    model = toy()
    expected = whole(model, threads=1, kv_dtype=kv_dtype)
    for sizes in ([1] * 301, [298, 1, 1, 1], [7] * 43, [150, 151]):
        run = sequences(model, threads=threads, kv_dtype=kv_dtype)
        parts = [run.run({0: n}, slide=True)[0] for n in sizes]
        assert np.array_equal(np.concatenate(parts), expected[0])


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("format", ["F32", "Q4_0", "Q8_0"])
def test_the_same_bits_in_any_mixture_of_sequences(format: str, threads: int) -> None:
    model = toy(format)
    expected = whole(model, threads=1)
    run = sequences(model, threads=threads)
    parts: list[list[NDArray[np.float32]]] = [[], [], []]
    for counts in ({0: 200, 1: 3}, {2: 1, 0: 1, 1: 20}, {1: 1, 0: 99, 2: 1}, {0: 1, 1: 16, 2: 15}):
        for s, logits in run.run(counts, slide=True).items():
            parts[s].append(logits)
    for ours, alone in zip(parts, expected, strict=True):
        assert np.array_equal(np.concatenate(ours), alone)


def test_hidden_states_of_any_layer() -> None:
    model = toy()
    for want in (("hidden:0",), ("hidden:1", "logits"), ("logits", "hidden:1")):
        ours, meant = (sequences(model, backend).run({1: 40}, want)[1] for backend in (native, reference))
        np.testing.assert_allclose(ours, meant, **CLOSE)
    with pytest.raises(RequestError, match="hidden:9"):
        sequences(model).run({1: 1}, ("hidden:9",))


def test_ops_without_a_kernel_run_their_reference_and_one_warning_names_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lower, "NATIVE_OPS", lower.NATIVE_OPS - {"delta_rule"})
    model = toy(recurrent=True)
    with pytest.warns(UserWarning, match="delta_rule") as given:
        native.prepare(model)
    assert len(given) == 1
    for counts in ([301], [100, 1, 200]):
        ours, meant = ([run.run({0: n})[0] for n in counts] for run in (sequences(model), sequences(model, reference)))
        np.testing.assert_allclose(np.concatenate(ours), np.concatenate(meant), **CLOSE)


def test_a_tree_of_drafts() -> None:
    model, context = toy(), 30
    results = []
    for backend in (native, reference):
        run = sequences(model, backend)
        run.run({0: context})
        batch = run.batch({0: 6})
        batch.parents = np.array([-1, 0, 0, 1, -1, 2], np.int32)
        batch.positions = (context + np.array([[0, 1, 1, 2, 0, 2]])).astype(np.int32)
        results.append(run.executable.run("forward", batch)["logits"])
    np.testing.assert_allclose(*results, **CLOSE)


def test_units_are_copied_exported_and_imported() -> None:
    model = toy()
    expected = whole(model)[1]
    run = sequences(model)
    run.run({1: 30})
    free = run.units - 1
    moved = [*run.blocks[1][:-1], free]
    data = {group: run.executable.export(group, run.blocks[1]) for group in model.groups}
    # The last block is copied before the step, as for copy on write.
    batch = run.batch({1: 10})
    copies = tuple((group, int(run.blocks[1][7]), free) for group in model.groups)
    tables = {group: np.array([[*run.blocks[1][:7], free, *run.blocks[1][8:]]], np.int32) for group in model.groups}
    batch.copies, batch.tables = copies, tables
    assert np.array_equal(run.executable.run("forward", batch)["logits"], expected[30:])
    # Another executable goes on from the exported units, at other places.
    other = sequences(model)
    for group, units in data.items():
        other.executable.import_(group, other.blocks[1], units)
    other.done[1] = 30
    assert np.array_equal(other.run({1: 10})[1], expected[30:])
    assert len(moved) == len(run.blocks[1])


def test_a_nan_is_reported_for_its_row_alone() -> None:
    model = toy()
    run = sequences(model)
    batch = run.batch({1: 4, 2: 3})
    batch.embeds, batch.embed_rows = np.full((1, 64), np.nan, np.float32), np.array([2], np.int32)
    result = run.executable.run("forward", batch)
    assert result.nonfinite.tolist() == [False, False, True, True, False, False, False]  # its sequence's later token sees it too
    quiet = run.executable.run("forward", Batch(batch.tokens, batch.query_start, batch.context_len, batch.rows[:0], tables=batch.tables))
    assert quiet["logits"].shape == (0, VOCAB)
    assert quiet.nonfinite.shape == (0,)


def faulty(name: str, run: Sequences) -> Batch:
    batch = run.batch({1: 4, 2: 3})
    if name == "a token outside the vocabulary":
        batch.tokens[5] = VOCAB
    elif name == "a block that is not allocated":
        batch.tables["full"][1, 0] = run.units
    elif name == "too few blocks":
        batch.tables = {group: table[:, :0] for group, table in batch.tables.items()}
    elif name == "no table":
        batch.tables = {"full": batch.tables["full"]}
    elif name == "a table that begins too late":
        batch.table_start["window"][0] = 1
    elif name == "embeddings outside the step":
        batch.embeds, batch.embed_rows = np.zeros((1, 64), np.float32), np.array([7], np.int32)
    return batch


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a token outside the vocabulary", "token id 97"),
        ("a block that is not allocated", "outside the"),
        ("too few blocks", "only 0 blocks"),
        ("no table", "group window: the batch has no block table"),
        ("a table that begins too late", "before its table's first block"),
        ("embeddings outside the step", "row 7"),
    ],
)
def test_faulty_batches_are_refused(name: str, message: str) -> None:
    run = sequences(toy())
    with pytest.raises(BackendError, match=message):
        run.executable.run("forward", faulty(name, run))


def test_steps_before_allocation_and_unknown_entries_are_refused() -> None:
    run = sequences(toy())
    fresh: Executable = native.prepare(run.model)
    with pytest.raises(BackendError, match="allocate"):
        fresh.run("forward", run.batch({1: 1}))
    with pytest.raises(BackendError, match="no entry 'encode'"):
        fresh.run("encode", run.batch({1: 1}))


def test_memory_is_counted_and_given_back() -> None:
    model = toy()
    run = sequences(model)
    run.run({1: 40})
    memory = run.executable.memory()
    weights = sum(w.tensor.size * 4 for w in model.entries["forward"].weights().values())
    assert weights <= memory["weights"] < 1.5 * weights  # the tied embedding counts once
    assert memory["state"] == sum(g.unit_bytes for g in run.executable.state_groups) * run.units
    assert memory["buffers"] > 0
    run.executable.close()
    assert run.executable.memory()["weights"] == run.executable.memory()["state"] == 0


def test_an_instruction_set_that_is_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERON_ISA", "mmx")
    with pytest.raises(BackendError, match="mmx"):
        native.prepare(toy())


def test_without_the_compiled_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "available", lambda: False)
    with pytest.raises(BackendError, match="not compiled"):
        native.prepare(toy())


def encoder_decoder() -> Model:
    """The encoder writes what the decoder attends to; its own attention sees both ways and keeps no state."""
    w, cross = Weights("F32"), Group("cross", "cross", 0, BLOCK)
    fields = {"key": Field((2, 16)), "value": Field((2, 16))}
    b = Builder("encode")
    x = b.embed(b.input("tokens", (T,), "i32"), w(VOCAB, 32, scale=1.0))
    q, k, v = (b.reshape(y, T, 2, 16) for y in b.packed_linear(x, [w(32, 32) for _ in range(3)], [None] * 3))
    b.kv_write(k, v, b.state("cross", cross, **fields))
    encode = b.finish(pooled=b.pool(b.reshape(b.attend(q, k, v, scale=0.3, causal=False), T, 32), "mean"))
    b = Builder("forward")
    x = b.embed(b.input("tokens", (T,), "i32"), w(VOCAB, 32, scale=1.0))
    query = b.reshape(b.linear(x, w(32, 32)), T, 2, 16)
    out = b.attend(query, state=b.state("cross", cross, **fields), scale=0.3, causal=False, value_dim=16)
    forward = b.finish(logits=b.rows(b.reshape(out, T, 32)))
    return Model("two entries", {"encode": encode, "forward": forward}, 0, VOCAB, 32, Traits())


def test_two_entries_share_a_cross_state() -> None:
    rng = np.random.default_rng(3)
    starts, lengths = np.array([0, 9, 11], np.int32), np.array([9, 2], np.int32)
    cross = {"cross": np.array([[3, 1, 5], [2, 0, 0]], np.int32)}
    tokens = rng.integers(0, VOCAB, 11).astype(np.int32)
    nothing = np.zeros(0, np.int32)
    results = []
    for backend in (native, reference):
        executable = backend.prepare(encoder_decoder(), options=Options(threads=2))
        executable.allocate({"cross": 6})
        pooled = executable.run("encode", Batch(tokens, starts, lengths, nothing, cross=cross, cross_len=lengths), ("pooled",))["pooled"]
        decoded = Batch(
            tokens[:5],
            np.array([0, 2, 5], np.int32),
            np.array([2, 3], np.int32),
            np.arange(5, dtype=np.int32),
            cross=cross,
            cross_len=lengths,
        )
        results.append((pooled, executable.run("forward", decoded)["logits"]))
    for ours, meant in zip(*results, strict=True):
        np.testing.assert_allclose(ours, meant, rtol=0, atol=1e-5)


def test_adapters_run_on_the_reference_without_a_warning(recwarn: pytest.WarningsRecorder) -> None:
    rng, w = np.random.default_rng(4), Weights("F32")
    b = Builder("forward")
    x = b.embed(b.input("tokens", (T,), "i32"), w(VOCAB, 32, scale=1.0))
    y = b.linear(x, w(16, 32))
    graph = b.finish(logits=b.rows(b.call("lora", (x, y), target="w")[0]))
    model = Model("adapted", {"forward": graph}, 0, VOCAB, 32, Traits())
    adapter = Adapter({"w": (rng.normal(size=(3, 32)).astype(np.float32), rng.normal(size=(16, 3)).astype(np.float32))}, 0.5)
    batch = Batch(
        TOKENS[2],
        np.array([0, 9, 17], np.int32),
        np.array([9, 8], np.int32),
        np.arange(17, dtype=np.int32),
        adapter=np.array([0, 1], np.int32),
    )
    results = []
    for backend in (native, reference):
        executable = backend.prepare(model)
        executable.load_adapter(1, adapter)
        results.append(executable.run("forward", batch)["logits"])
        with pytest.raises(UnsupportedError, match="other"):
            executable.load_adapter(2, Adapter({"other": adapter.pairs["w"]}))
    np.testing.assert_allclose(*results, rtol=0, atol=1e-5)
    assert not recwarn.list
