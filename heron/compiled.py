"""The compiled core (csrc), or None where Heron was installed without a compiler."""

from __future__ import annotations

from typing import Any

core: Any
try:
    from heron import _core as core
except ImportError:
    core = None
