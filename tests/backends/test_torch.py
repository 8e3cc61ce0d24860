"""The torch backend beside the reference: types, states, adapters, ranks, drafts, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from adapters import adapter, matrices
from numpy.typing import NDArray
from ranks import in_ranks
from tiny_models import make
from toy import VOCAB, Sequences, toy

from heron.backends import reference
from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options, Placement
from heron.backends.batch import Batch
from heron.backends.torch import views
from heron.backends.torch.decode import DECODERS, quantize_q8_0
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import BackendError, UnsupportedError
from heron.graph.graph import Model
from heron.graph.passes.lora import attach
from heron.models.registry import build_model
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

LENGTHS = (61, 40, 27)
STEPS: list[dict[int, int]] = [{0: 30, 1: 7}, {1: 1, 0: 1, 2: 20}, {0: 3, 1: 3, 2: 3}, {2: 1, 1: 1, 0: 1}, {0: 26, 1: 28, 2: 3}]


def run(backend: Any, model: Model, options: Options, slide: bool = False) -> NDArray[np.float32]:
    rng = np.random.default_rng(1)
    tokens = [rng.integers(0, VOCAB, n).astype(np.int32) for n in LENGTHS]
    sequences = Sequences(backend.prepare(model, options=options), model, tokens)
    return np.concatenate([part for counts in STEPS for part in sequences.run(counts, slide=slide).values()])


@pytest.mark.parametrize("format", ["F32", "Q8_0", "Q4_0"])
@pytest.mark.parametrize("kv_dtype", ["f32", "f16", "q8_0"])
def test_a_mixture_of_everything_in_each_cache(format: str, kv_dtype: str) -> None:
    """Stored alike, read alike; what rounding to a cache's type turns is seen, but small."""
    model, options = toy(format, 3, recurrent=True), Options(kv_dtype=kv_dtype)
    off = parity.difference(run(on_torch, model, options, slide=True), run(reference, model, options))
    assert off <= {"f32": parity.TOLERANCE, "f16": 0.01, "q8_0": 0.1}[kv_dtype]


@pytest.mark.parametrize(("dtype", "bound"), [("f16", 0.05), ("bf16", 0.3)])
def test_smaller_types(dtype: str, bound: float) -> None:
    """A step in half precision is near, and none of it is f32's."""
    model = toy("Q8_0", 1)
    exact, got = (run(on_torch, model, Options(kv_dtype="f32", dtype=d)) for d in ("f32", dtype))
    assert 1e-4 < np.abs(got - exact).max() / exact.std() <= bound
    assert np.sqrt(np.mean((got - exact) ** 2)) <= bound / 5 * exact.std()


def test_tiles_of_any_size_see_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    model, options = toy("F32", 2), Options(kv_dtype="f32")
    expected = run(reference, model, options)
    for pairs in (1, 40, 300):
        monkeypatch.setattr(views, "PAIRS", pairs)
        monkeypatch.setattr(views, "WHOLE", pairs)
        assert parity.difference(run(on_torch, model, options), expected) <= parity.TOLERANCE


def test_q8_0_is_stored_as_in_files() -> None:
    values = np.random.default_rng(0).standard_normal((50, 96)).astype(np.float32)
    values[3] = 0
    values[4, :32] = np.arange(32) - 15.5  # halves
    np.testing.assert_array_equal(quantize_q8_0(torch.from_numpy(values)).numpy(), quantize(FORMATS["Q8_0"], values))


@pytest.fixture(scope="module", params=["llama", "gemma3", "mamba2", "deepseek2", "qwen3next"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    with Checkpoint(made.folder) as checkpoint:
        yield build_model(checkpoint)


def prepare(model: Model, options: Options) -> Executable:
    return on_torch.prepare(model, options=options)


def test_two_ranks_compute_what_one_does(model: Model) -> None:
    tokens = parity.prompt(61, 30)
    expected = parity.whole(parity.Runner(model), tokens)
    for got in in_ranks(model, 2, lambda runner: parity.chunks(runner, tokens), backend=on_torch):
        assert parity.difference(got, expected) <= parity.TOLERANCE


def test_adapters_of_each_sequence(model: Model) -> None:
    adapted = attach(model, matrices(model))
    both = [parity.Runner(adapted, backend) for backend in (prepare, parity.reference_backend)]
    prompts = {0: parity.prompt(61, 30, 3), 1: parity.prompt(60, 17, 4), 2: parity.prompt(60, 8, 5)}
    results = []
    for runner in both:
        for number in (1, 2):
            runner.executable.load_adapter(number, adapter(adapted, number))
        rows = np.array([54, 3, 29, 30], np.int32)  # as many as an adapter's product may meet, out of order
        fields = {"adapter": np.array([2, 0, 1], np.int32), "rows": rows}
        results.append(runner.executable.run("forward", runner.batch(prompts, **fields))["logits"])
    assert parity.difference(*results) <= parity.TOLERANCE
    with pytest.raises(UnsupportedError, match="nothing"):
        both[0].executable.load_adapter(3, type(adapter(model, 1))({"nothing": (np.zeros((1, 1)), np.zeros((1, 1)))}))


@pytest.mark.parametrize("kv_dtype", ["f16", "f32"])
def test_state_moves_to_and_from_the_reference(model: Model, kv_dtype: str) -> None:
    """The bytes are the same ones: a sequence begun on one backend goes on upon the other."""
    tokens, options = parity.prompt(61, 30), Options(kv_dtype=kv_dtype)
    here, there = parity.Runner(model, prepare, options), parity.Runner(model, options=options)
    here.step({0: tokens[:20]})
    for group in here.groups:
        units = here.tables[group.name][0].tolist()
        data = here.executable.export(group.name, units)
        assert len(data) == group.unit_bytes * len(units)
        there.executable.import_(group.name, units, data)
        assert there.executable.export(group.name, units) == data
        back = parity.Runner(model, prepare, options).executable
        back.import_(group.name, units, data)
        back.copy(group.name, units[0], 0)
        assert back.export(group.name, [0]) == data[: group.unit_bytes]
        with pytest.raises(BackendError, match=r"bytes|end at"):
            back.import_(group.name, units, data[:-1])
    there.done[0] = 20
    got, expected = (runner.step({0: tokens[20:]})[0]["logits"] for runner in (there, here))
    assert parity.difference(got, expected) <= {"f32": parity.TOLERANCE, "f16": 0.01}[kv_dtype]


def test_drafts_that_branch(tmp_path: Path) -> None:
    made = make("gemma3", tmp_path)
    model, tokens = build_model(Checkpoint(made.folder)), parity.prompt(61, 30)
    parents = np.array([-1, 0, 0, 1, 2, 4, -1], np.int32)
    results = []
    for runner in (parity.Runner(model, prepare), parity.Runner(model)):
        runner.step({0: tokens[:20]})
        results.append(runner.step({0: tokens[20:27]}, parents=parents)[0]["logits"])
    assert parity.difference(*results) <= parity.TOLERANCE


def test_what_is_held_is_counted_and_let_go(model: Model) -> None:
    executable = prepare(model, Options())
    assert executable.memory()["weights"] > 0 and executable.memory()["state"] == 0
    executable.allocate({group.name: 3 for group in executable.state_groups})
    assert executable.memory()["state"] == sum(3 * group.unit_bytes for group in executable.state_groups)
    assert executable.batch_dependent
    executable.close()
    assert executable.memory() == {"weights": 0, "state": 0, "buffers": 0}


def test_quantized_weights_stay_so() -> None:
    held = {format: on_torch.prepare(toy(format, 2)).memory()["weights"] for format in ("F32", "BF16", "Q8_0", "Q4_0")}
    assert held["BF16"] < 0.6 * held["F32"] and held["Q8_0"] < 0.35 * held["F32"] and held["Q4_0"] < 0.25 * held["F32"]
    assert {f.name for f in FORMATS.values() if not f.plain} - DECODERS.keys() == {"Q8_1", "Q8_K"}  # those of activations


# What is refused


def test_a_device_that_is_not_here() -> None:
    for device in ("cuda:99", "abacus"):
        with pytest.raises(BackendError, match=f"cannot use device '{device}'.*there are cpu"):
            on_torch.prepare(toy(), Placement(device=device))


def test_a_step_before_there_is_room() -> None:
    batch = Batch(*(np.array(x, np.int32) for x in ([1], [0, 1], [1], [0])))
    with pytest.raises(BackendError, match="allocate"):
        on_torch.prepare(toy()).run("forward", batch)
    with pytest.raises(BackendError, match="no entry"):
        on_torch.prepare(toy()).run("encode", batch)
