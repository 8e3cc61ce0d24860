"""The loops that say what the machine can do at most."""

from __future__ import annotations

import pytest

_core = pytest.importorskip("heron._core")


@pytest.mark.parametrize("isa", _core.instruction_sets())
def test_limits_are_measured(isa: str) -> None:
    limits = _core.machine_limits(isa, 1)
    tiles = ["int8 tiles", "bf16 tiles"] if isa == "amx" else []
    assert list(limits) == ["read", "int8", "f32", "bf16", *tiles]
    assert all(1e8 < limit < 1e14 for limit in limits.values())
    assert limits["bf16"] >= limits["f32"]  # at worst bf16 is widened, and multiplied as f32
