"""Which kernel computes a node on torch, and what becomes of fused ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from toy import Sequences, toy

from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.torch import plan, step
from heron.backends.torch.core import ACTIVATION

TOKENS = [np.arange(3, 20, dtype=np.int32)]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A table in which one fused op has a kernel, for some of its nodes, and one plain op."""
    made: list[str] = []
    monkeypatch.setattr(plan, "usable", lambda device: True)
    monkeypatch.setattr(plan, "TRITON_MODULES", ())
    monkeypatch.setattr(plan, "TRITON", {})
    monkeypatch.setattr(plan, "TAKES", {})
    monkeypatch.setattr(step, "TRITON", plan.TRITON)
    monkeypatch.setattr(step, "TAKES", plan.TAKES)

    @step.triton_kernel("glu", lambda node: len(node.outputs[0].shape) == 2)
    def glu(step: Any, node: Any, gate: Any, up: Any) -> Any:
        made.append("glu")
        return (ACTIVATION[node.attrs["kind"]](gate) * up,)

    @step.triton_kernel("softmax")
    def softmax(step: Any, node: Any, x: Any) -> Any:
        made.append("softmax")
        return (x.softmax(-1),)

    return made


@pytest.mark.parametrize(("fuse", "expected"), [(True, ["glu", "softmax"]), (False, ["softmax"])])
def test_nodes_that_a_kernel_takes_are_kept(fuse: bool, expected: list[str], calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The gate of the dense layer is taken, that of the experts is not: it runs as what it means."""
    got = Sequences(on_torch.prepare(toy(), options=Options(fuse=fuse)), toy(), TOKENS).run({0: 9})[0]
    assert calls == expected
    monkeypatch.setattr(plan, "usable", lambda device: False)
    plain = Sequences(on_torch.prepare(toy()), toy(), TOKENS).run({0: 9})[0]
    assert calls == expected
    np.testing.assert_allclose(got, plain, rtol=1e-5, atol=1e-5)
