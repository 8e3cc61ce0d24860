"""The native backend: C++ on the CPU. A step runs in one call, without the GIL, on threads of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from heron.backends.base import Options, Placement
from heron.errors import BackendError
from heron.graph.graph import Model

if TYPE_CHECKING:
    from heron.backends.native.executable import NativeExecutable

name = "native"


def available() -> bool:
    """Whether the compiled core is here."""
    try:
        from heron import _core
    except ImportError:
        return False
    return hasattr(_core, "Program")


def prepare(model: Model, placement: Placement = Placement(), options: Options = Options()) -> NativeExecutable:
    """Raises BackendError where the core is not compiled."""
    if not available():
        raise BackendError("Heron's CPU core is not compiled; reinstall Heron where there is a C++ compiler, or use the reference backend")
    from heron.backends.native.executable import NativeExecutable

    return NativeExecutable(model, placement, options)
