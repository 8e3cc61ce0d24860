"""The torch backend: the same graphs by torch's kernels, on any device that torch knows. See docs/torch.md.

torch is an extra and takes a second to import: nothing here imports it before a model is made ready.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from heron.backends.base import Options, Placement
from heron.errors import BackendError
from heron.graph.graph import Model

if TYPE_CHECKING:
    from heron.backends.torch.executable import TorchExecutable

name = "torch"

#: Where drivers of GPUs that torch calls ``cuda`` show: NVIDIA's, the same under WSL, AMD's, NVIDIA's on Windows.
_DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd", os.path.expandvars(r"%SystemRoot%\System32\nvcuda.dll"))


def available() -> bool:
    """Whether torch is installed."""
    return find_spec("torch") is not None


def has_driver() -> bool:
    """Whether a driver is here of GPUs that torch calls ``cuda``."""
    return any(Path(driver).exists() for driver in _DRIVERS)


def sees_gpu() -> bool:
    """Whether torch can compute on ``cuda`` here. torch is imported only where a driver is."""
    if not available() or not has_driver():
        return False
    import torch

    return torch.cuda.is_available()


def first_gpu() -> str | None:
    """The first GPU that torch sees, by its name: CUDA (and ROCm), XPU, MPS, in this order. Imports torch, if it is installed."""
    if not available():
        return None
    import torch

    if torch.cuda.is_available():
        return "cuda"
    if torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else None


@dataclass(frozen=True)
class Room:
    """What a device has: bytes ``free``, and the bytes of a number that is computed with there."""

    free: int
    itemsize: int


def room(device: str, options: Options = Options()) -> Room | None:
    """None for a device that computes in the machine's own memory, or does not say. Raises BackendError for one that is not here."""
    if not available():
        return None  # prepare() says so
    from heron.backends.torch.device import compute_dtype, find_device, free_bytes

    found = find_device(device)
    free = free_bytes(found)
    return None if free is None else Room(free, compute_dtype(found, options.dtype).itemsize)


def give_back(device: str) -> None:
    """Return to the system what torch keeps of a GPU's memory to use it again: for other programs, until it does."""
    import torch

    getattr(torch, device.partition(":")[0]).empty_cache()


def prepare(model: Model, placement: Placement = Placement(), options: Options = Options()) -> TorchExecutable:
    """Raises BackendError where torch, or the device, is not here."""
    if not available():
        raise BackendError("the torch backend needs torch, which is not installed; run: pip install heron[torch]")
    from heron.backends.torch.executable import TorchExecutable

    return TorchExecutable(model, placement, options)
