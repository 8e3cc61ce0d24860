"""Where a model runs, by what is asked for and what the machine has: devices are fakes."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_models import make
from toy import toy

from heron.backends import native, reference
from heron.backends import torch as on_torch
from heron.backends.base import Options, Placement
from heron.backends.choose import Ready, Where, make_ready
from heron.backends.fit import SHARE, _by_layer, fit
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import BackendError, HeronError, RequestError, UnsupportedError
from heron.graph.graph import Model
from heron.models.registry import build_model

CPU = "native" if native.available() else "reference"


def fake(*kinds: str) -> Any:
    """A torch that sees these kinds of GPU."""

    def kind(name: str) -> Any:
        return SimpleNamespace(is_available=lambda: name in kinds)

    return SimpleNamespace(__spec__=True, cuda=kind("cuda"), xpu=kind("xpu"), backends=SimpleNamespace(mps=kind("mps")))


class Machine:
    """What is there: kinds of GPUs, and their free bytes. ``prepared`` are the devices that models were made ready on by torch."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.prepared: list[str] = []
        patch.setattr(on_torch, "prepare", self._prepare)
        self.has()

    def has(self, *kinds: str, free: int | None = None) -> None:
        self._patch.setattr(on_torch, "first_gpu", lambda: next((k for k in ("cuda", "xpu", "mps") if k in kinds), None))
        self._patch.setattr(on_torch, "sees_gpu", lambda: "cuda" in kinds)
        self._patch.setattr(on_torch, "room", lambda device, options: None if free is None else on_torch.Room(free, 2))

    def _prepare(self, model: Model, placement: Placement = Placement(), options: Options = Options()) -> Any:
        self.prepared.append(placement.device)
        return reference.prepare(model, options=options)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(monkeypatch)


def quiet(model: Model | None = None, **where: Any) -> Ready:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return make_ready(model or toy(), Where(**where), Options())


@pytest.fixture(scope="module")
def four(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """A model of seven layers."""
    return build_model(Checkpoint(make("gemma3-capped", tmp_path_factory.mktemp("seven")).folder))


def test_by_itself_it_is_cuda_where_that_is(machine: Machine) -> None:
    assert quiet().backend == CPU
    for kinds in (("xpu",), ("mps",), ("xpu", "mps")):
        machine.has(*kinds)
        assert quiet().backend == CPU
    machine.has("cuda", "xpu")
    assert (quiet().backend, machine.prepared) == ("torch", ["cuda"])
    assert quiet(gpu=False).backend == quiet(device="cpu").backend == CPU
    assert quiet(backend="reference").backend == quiet(backend="reference", gpu=False).backend == "reference"


def test_of_several_cuda_gpus_it_is_the_one_that_is_said(machine: Machine, four: Model) -> None:
    machine.has("cuda", "xpu", free=2**40)
    for where in ({}, {"gpu": True}, {"backend": "torch"}, {"gpu_layers": 99}):
        assert quiet(four, cuda_device_id=2, **where).device == machine.prepared[-1] == "cuda:2"
    assert quiet(cuda_device_id=2, device="cuda:1").device == "cuda:1"
    assert quiet(cuda_device_id=2, gpu=False).backend == CPU
    machine.has("xpu")
    assert quiet(cuda_device_id=2, gpu=True).device == "xpu"
    with pytest.raises(RequestError, match="cuda_device_id is -1"):
        Where(cuda_device_id=-1)


def test_a_gpu_is_the_first_there_is(machine: Machine) -> None:
    for kinds, first in ((("cuda", "xpu", "mps"), "cuda"), (("mps", "xpu"), "xpu"), (("mps",), "mps")):
        machine.has(*kinds)
        assert quiet(gpu=True).device == quiet(backend="torch").device == machine.prepared[-1] == first
    assert quiet(gpu=True, device="xpu:1").device == quiet(device="xpu:1").device == "xpu:1"
    machine.has()
    with pytest.raises(BackendError, match="torch sees no GPU here"):
        quiet(gpu=True)
    assert quiet(backend="torch").device == quiet(backend="torch", gpu=False).device == "cpu"


def test_the_order_is_torchs_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for kinds, first in ((("xpu", "mps", "cuda"), "cuda"), (("mps", "xpu"), "xpu"), (("mps",), "mps"), ((), None)):
        monkeypatch.setitem(sys.modules, "torch", fake(*kinds))
        assert on_torch.first_gpu() == first


def test_without_a_driver_torch_is_not_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "torch", fake("cuda"))
    monkeypatch.setattr(on_torch, "_DRIVERS", (str(tmp_path / "none"),))
    assert not on_torch.sees_gpu()
    monkeypatch.setattr(on_torch, "_DRIVERS", (str(tmp_path),))
    assert on_torch.sees_gpu()


def test_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_torch, "find_spec", lambda name: None)
    for where in ({"backend": "torch"}, {"gpu": True}, {"gpu_layers": 1}, {"device": "cuda"}):
        with pytest.raises(BackendError, match=r"pip install heron\[torch\]"):
            quiet(**where)
    assert not on_torch.sees_gpu() and on_torch.first_gpu() is None and quiet().backend == CPU


def test_weights_that_do_not_fit_go_to_the_cpu(machine: Machine, four: Model) -> None:
    need = fit(four, 0, Options(), 2).need
    machine.has("cuda", free=int(need / SHARE) + 2)
    assert quiet(four).backend == "torch"
    machine.has("cuda", free=int(need / SHARE) - 2)
    with pytest.warns(UserWarning, match=r"cuda has .* free, so the CPU computes; --gpu-layers 7 .* the 7 of its 7 layers .*--no-gpu none"):
        assert make_ready(four, Where(), Options()).backend == CPU
    assert quiet(four, gpu=True).backend == "torch"  # who asks for it gets what fits, if barely
    machine.has("cuda", free=need // 2)
    with pytest.warns(UserWarning, match=r"--gpu-layers [1-6] computes"):
        make_ready(four, Where(), Options())
    with pytest.raises(BackendError, match=r"--gpu-layers [1-6] computes"):
        quiet(four, gpu=True)
    machine.has("cuda", free=100)
    with pytest.warns(UserWarning, match=r"CPU computes; --no-gpu computes on the CPU"):
        make_ready(four, Where(), Options())


def test_a_device_that_fails_leaves_the_cpu(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    def prepare(*_: Any) -> Any:
        raise UnsupportedError("no kernel for abacus")

    machine.has("cuda")
    monkeypatch.setattr(on_torch, "prepare", prepare)
    with pytest.warns(UserWarning, match="cuda is here, but the CPU computes: no kernel for abacus"):
        assert make_ready(toy(), Where(), Options()).backend == CPU
    with pytest.raises(UnsupportedError, match="abacus"):
        quiet(gpu=True)


def test_layers_are_counted_from_the_last(machine: Machine, four: Model) -> None:
    machine.has("cuda")
    assert quiet(four, gpu_layers=0).backend == CPU and not machine.prepared
    ready = quiet(four, gpu_layers=2)
    assert (ready.backend, ready.device, machine.prepared) == (f"{CPU}+torch", "cuda", ["cuda"])
    on_device = ready.executable._parts[1].model.entries["forward:1"]  # type: ignore[attr-defined]
    assert {name.split(".")[1] for name in on_device.weights() if name.startswith("blk.")} == {"5", "6"}
    assert "output.weight" not in on_device.weights()
    assert quiet(four, gpu_layers=8).backend == quiet(four, gpu_layers=999, gpu=True).backend == "torch"
    assert quiet(four, gpu_layers=7, device="xpu").device == "xpu"
    machine.has()
    with pytest.raises(BackendError, match=r"torch sees no GPU here.*name a --device"):
        quiet(four, gpu_layers=2)


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"backend": "abacus"}, "no backend 'abacus'"),
        ({"backend": "reference", "device": "cuda:0"}, "computes on the CPU"),
        ({"gpu_layers": -1}, "gpu_layers is -1"),
        ({"gpu": True, "backend": "native"}, "a GPU is asked for, and the native backend too"),
        ({"gpu": True, "device": "cpu"}, "a GPU is asked for, and device 'cpu' too"),
        ({"gpu_layers": 3, "backend": "native"}, "leave out backend 'native'"),
        ({"gpu": False, "device": "cuda:1"}, "no GPU is asked for, but device 'cuda:1' too"),
        ({"gpu": False, "gpu_layers": 3}, "no GPU is asked for, but gpu_layers too"),
    ],
)
def test_what_contradicts_itself_is_refused(where: dict[str, Any], words: str) -> None:
    with pytest.raises((BackendError, RequestError), match=words):
        Where(**where)
    assert issubclass(BackendError, HeronError)


def test_an_encoder_decoder_fits_whole_or_not_at_all(machine: Machine, tmp_path: Path) -> None:
    model = build_model(Checkpoint(make("t5", tmp_path).folder))
    need = fit(model, 0, Options(), 2).need
    assert fit(model, need // 2, Options(), 2).layers == 0 and fit(model, 2 * need, Options(), 2).layers == 4
    machine.has("cuda")
    assert quiet(model, gpu_layers=999).backend == "torch"
    with pytest.raises(UnsupportedError, match="encoder and a decoder"):
        quiet(model, gpu_layers=1)


@pytest.mark.parametrize("format", ["F32", "BF16", "Q8_0", "Q4_0"])
def test_what_a_model_takes_is_known_before(format: str) -> None:
    model, options = toy(format, 3, recurrent=True), Options(dtype="bf16")
    states = sum(taken.states for taken in _by_layer(model, model.entries["forward"], options).values())
    taken = on_torch.prepare(model, options=options).memory()["weights"]
    assert fit(model, 0, options, 2).need - states == pytest.approx(taken, rel=0.03)
