"""Importance: which columns of a model's matrices matter, by what they multiply when the model reads a text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from heron.checkpoint.imatrix import ImportanceMatrix
from heron.engine.model import Model
from heron.errors import BackendError, RequestError
from heron.evaluate.windows import Window


def collect(model: Model, windows: Sequence[Window], matrix: ImportanceMatrix) -> Iterator[ImportanceMatrix]:
    """Read the windows, and yield ``matrix`` after each, with what was found taken up.

    ``model`` was loaded with ``rewrite=observe`` (heron/graph/passes/observe.py). Raises BackendError where values are not finite.
    """
    marks = model.graph_model.entries["forward"].marks
    names = [name.removeprefix("squares:") for name in marks if name.startswith("squares:")]
    if not names:
        raise RequestError("the model was not loaded to be observed: give heron.load rewrite=observe")
    want = [f"{what}:{name}" for name in names for what in ("squares", "rows")]
    for window in windows:
        for result in model.steps(list(window.tokens), want):
            for name in names:
                squares = result[f"squares:{name}"]
                if not np.isfinite(squares).all():
                    raise BackendError(f"what {name} multiplies is not finite; the model's weights may be damaged")
                matrix.add(name, squares, result[f"rows:{name}"])
        matrix.chunks += 1
        yield matrix
