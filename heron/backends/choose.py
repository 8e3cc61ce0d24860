"""A model on the backend that is asked for."""

from __future__ import annotations

import warnings

from heron.backends.base import Executable, Options, Placement
from heron.errors import BackendError
from heron.graph.graph import Model

#: What ``heron.load`` and the commands call backends.
NAMES = ("auto", "native", "torch", "reference")


def make_ready(model: Model, backend: str, options: Options, device: str = "auto") -> tuple[str, Executable]:
    """The backend's name, and the model on it.

    ``auto`` is torch where a ``device`` is named, else the native one, or the reference where no core is compiled; the device
    ``auto`` is torch's ``cuda`` where there is one, else the CPU. Until it has been seen on GPUs torch is not taken unasked.
    """
    from heron.backends import native, reference, torch

    if backend not in NAMES:
        raise BackendError(f"there is no backend {backend!r}; there are {', '.join(NAMES)}")
    if backend in ("native", "reference") and device not in ("auto", "cpu"):
        raise BackendError(f"the {backend} backend computes on the CPU; for device {device!r} use the torch backend")
    if backend == "torch" or (backend == "auto" and device not in ("auto", "cpu")):
        if device == "auto":
            device = "cuda" if torch.sees_gpu() else "cpu"
        _say_no_lock("torch", options)
        return "torch", torch.prepare(model, Placement(device=device), options)
    if backend == "native" or (backend == "auto" and native.available()):
        return "native", native.prepare(model, options=options)
    if backend == "auto":
        warnings.warn("Heron's CPU core is not compiled here; running on the (slow) reference backend", stacklevel=3)
    _say_no_lock("reference", options)
    return "reference", reference.prepare(model, options=options)


def _say_no_lock(backend: str, options: Options) -> None:
    if options.mlock:
        warnings.warn(f"mlock: the {backend} backend does not lock weights in memory", stacklevel=4)
