"""A model on the backend that is asked for."""

from __future__ import annotations

import warnings

from heron.backends.base import Executable, Options
from heron.errors import BackendError
from heron.graph.graph import Model


def make_ready(model: Model, backend: str, options: Options) -> tuple[str, Executable]:
    """The backend's name, and the model on it; ``auto`` is the native one, or the reference where no core is compiled."""
    from heron.backends import native, reference

    if backend == "auto":
        backend = "native" if native.available() else "reference"
        if backend == "reference":
            warnings.warn("Heron's CPU core is not compiled here; running on the (slow) reference backend", stacklevel=3)
    if backend == "native":
        return backend, native.prepare(model, options=options)
    if backend == "reference":
        if options.mlock:
            warnings.warn("mlock: the reference backend does not lock weights in memory", stacklevel=3)
        return backend, reference.prepare(model, options=options)
    raise BackendError(f"there is no backend {backend!r}; there are auto, native and reference")
