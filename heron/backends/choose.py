"""A model on the backend that is asked for, or on the one that suits the machine."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from functools import partial

from heron.backends.base import Executable, Options, Placement
from heron.backends.fit import Fit, fit
from heron.errors import BackendError, DeviceFull, HeronError, RequestError
from heron.graph.graph import Model
from heron.graph.passes.cut import count_layers

#: What ``heron.load`` and the commands call backends.
NAMES = ("auto", "native", "torch", "reference")

#: Those that compute on the CPU alone.
ON_CPU = ("native", "reference")


@dataclass(frozen=True)
class Where:
    """Where a model shall run: what ``heron.load`` and the commands are told (docs/torch.md).

    ``gpu`` says yes (torch, on the first GPU there is), no (the CPU) or None: a CUDA GPU if there is one and the weights fit.
    Of ``gpu_layers`` layers, counted from the last one, torch computes on the device, and the rest on the CPU; more than there are
    are all of them, and the output head. ``cuda_device_id`` is which of several CUDA GPUs ``auto`` means.
    """

    backend: str = "auto"
    device: str = "auto"
    gpu: bool | None = None
    gpu_layers: int | None = None
    cuda_device_id: int = 0

    def __post_init__(self) -> None:
        if self.backend not in NAMES:
            raise BackendError(f"there is no backend {self.backend!r}; there are {', '.join(NAMES)}")
        if self.backend in ON_CPU and self.device not in ("auto", "cpu"):
            raise BackendError(f"the {self.backend} backend computes on the CPU; for device {self.device!r} use the torch backend")
        if self.cuda_device_id < 0:
            raise RequestError(f"cuda_device_id is {self.cuda_device_id}; GPUs are counted from 0")
        if self.gpu_layers is not None and self.gpu_layers < 0:
            raise RequestError(f"gpu_layers is {self.gpu_layers}; give a number of layers, 0 for none, 999 for all")
        if self.gpu and (self.backend in ON_CPU or self.device == "cpu"):
            other = f"the {self.backend} backend" if self.backend in ON_CPU else "device 'cpu'"
            raise RequestError(f"a GPU is asked for, and {other} too; leave one of them out")
        if self.gpu_layers and self.backend in ON_CPU:
            raise RequestError(f"gpu_layers needs the torch backend beside the native one; leave out backend {self.backend!r}")
        if self.gpu is False and (self.device not in ("auto", "cpu") or self.gpu_layers):
            other = "gpu_layers" if self.gpu_layers else f"device {self.device!r}"
            raise RequestError(f"no GPU is asked for, but {other} too; leave one of them out")

    @property
    def left_open(self) -> bool:
        """Whether nothing is said of backend or device."""
        return replace(self, cuda_device_id=0) == Where()

    @property
    def cuda(self) -> str:
        """The CUDA GPU that ``auto`` means."""
        return f"cuda:{self.cuda_device_id}" if self.cuda_device_id else "cuda"


@dataclass(frozen=True)
class Ready:
    """A model on a backend. ``device`` is what torch calls it."""

    backend: str
    device: str
    executable: Executable


def device_of(where: Where) -> str:
    """What torch calls the device that models are put on, with all their layers or ``gpu_layers`` of them; "cpu" without a GPU.

    Raises BackendError where the one that is asked for is not here.
    """
    from heron.backends import torch

    if where.gpu is False or where.gpu_layers == 0 or where.backend in ON_CPU or where.device == "cpu":
        return "cpu"
    if where.left_open:
        return where.cuda if torch.sees_gpu() else "cpu"
    if where.backend == "torch" and where.device == "auto" and not (where.gpu or where.gpu_layers):
        return _first_gpu(where) or "cpu"
    return _device(where)


def make_ready(model: Model, where: Where, options: Options) -> Ready:
    """The model where it is asked for. Raises BackendError where that is not here, and what the backend raises."""
    device = device_of(where)
    if where.gpu_layers:
        return _divided(model, where.gpu_layers, device, options)
    if where.left_open and device != "cpu":
        return _if_it_fits(model, device, options) or _on_cpu(model, where.backend, options)
    if where.backend == "torch" or device != "cpu":
        return _on_torch(model, device, options)
    return _on_cpu(model, where.backend, options)


def _device(where: Where) -> str:
    """The device that is named, or the first GPU."""
    from heron.backends import torch

    if where.device != "auto":
        return where.device
    if not torch.available():
        raise BackendError("a GPU is computed on by torch, which is not installed; run: pip install heron[torch]")
    if (found := _first_gpu(where)) is None:
        raise BackendError("torch sees no GPU here (CUDA, ROCm, XPU or MPS); leave --gpu and --gpu-layers out, or name a --device")
    return found


def _first_gpu(where: Where) -> str | None:
    from heron.backends import torch

    found = torch.first_gpu()
    return where.cuda if found == "cuda" else found


def _on_cpu(model: Model, backend: str, options: Options) -> Ready:
    from heron.backends import native, reference

    if backend == "native" or (backend == "auto" and native.available()):
        return Ready("native", "cpu", native.prepare(model, options=options))
    if backend == "auto":
        warnings.warn("Heron's CPU core is not compiled here; running on the (slow) reference backend", stacklevel=4)
    _say_no_lock("reference", options)
    return Ready("reference", "cpu", reference.prepare(model, options=options))


def _on_torch(model: Model, device: str, options: Options) -> Ready:
    from heron.backends import torch

    _say_no_lock("torch", options)
    fits = _fit(model, device, options)
    if fits is not None and fits[0].need > fits[1]:
        raise DeviceFull(f"{_too_large(device, *fits)}; {_instead(fits[0])}")
    return Ready("torch", device, torch.prepare(model, Placement(device=device), options))


def _if_it_fits(model: Model, device: str, options: Options) -> Ready | None:
    """The model on the device that was chosen for it, or why not as a warning."""
    try:
        fits = _fit(model, device, options)
        if fits is None or fits[0].layers > fits[0].of:
            return _on_torch(model, device, options)
        reason = f"{_too_large(device, *fits)}, so the CPU computes; {_instead(fits[0])}"
    except HeronError as error:
        reason = f"{device} is here, but the CPU computes: {error}"
    warnings.warn(reason, stacklevel=4)
    return None


def _divided(model: Model, layers: int, device: str, options: Options) -> Ready:
    """The last layers on the device, the rest on the CPU."""
    from heron.backends import native, reference, torch
    from heron.backends.pipeline import Pipeline

    count = max(count_layers(graph) for graph in model.entries.values())
    if layers > count:
        return _on_torch(model, device, options)
    rest = native if native.available() else reference
    if rest is reference:
        warnings.warn("Heron's CPU core is not compiled here; layers beside the GPU's run on the (slow) reference backend", stacklevel=4)
    parts = [partial(rest.prepare, options=options), partial(torch.prepare, placement=Placement(device=device), options=options)]
    _say_no_lock("torch", options)
    return Ready(f"{rest.name}+torch", device, Pipeline(model, (count - layers, count), (0, 1, 0), parts))


def _fit(model: Model, device: str, options: Options) -> tuple[Fit, int] | None:
    """How much of the model fits on the device, and the bytes free there; None where it computes in the machine's memory."""
    from heron.backends import torch

    room = torch.room(device, options)
    return None if room is None else (fit(model, room.free, options, room.itemsize), room.free)


def _too_large(device: str, fits: Fit, free: int) -> str:
    return f"the model takes {fits.need / 2**30:.1f} GiB with a short context, and {device} has {free / 2**30:.1f} free"


def _instead(fits: Fit) -> str:
    if not fits.layers:
        return "--no-gpu computes on the CPU"
    return f"--gpu-layers {fits.layers} computes the {fits.layers} of its {fits.of} layers that fit there, --no-gpu none"


def _say_no_lock(backend: str, options: Options) -> None:
    if options.mlock:
        warnings.warn(f"mlock: the {backend} backend does not lock weights in memory", stacklevel=5)
