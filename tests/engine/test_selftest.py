"""The self-test tells kernels that are right from others."""

from __future__ import annotations

from typing import Any

import pytest

from heron import pocket
from heron.engine import selftest
from heron.engine.model import Model
from heron.engine.selftest import COMPARED, self_test


@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_backends_that_are_right_agree(backend: str) -> None:
    tested = self_test(pocket.path(), backend)
    assert tested.agrees and len(tested.tokens) == COMPARED and tested.tokens_per_second > 0 and tested.load_seconds > 0


def test_a_backend_whose_rows_are_mixed_up_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    load = selftest.load

    def mixed(path: Any, backend: str) -> Model:
        model = load(path, backend=backend)
        if backend == "auto":
            step = model._step
            model._step = lambda *args, **more: step(*args, **more)[..., ::-1].copy()  # type: ignore[method-assign]
        return model

    monkeypatch.setattr(selftest, "load", mixed)
    tested = self_test(pocket.path(), "auto")
    assert not tested.agrees and tested.behind > 2
