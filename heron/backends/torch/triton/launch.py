"""Whether Triton's kernels may be used, and the arithmetic that their launches share."""

from __future__ import annotations

import os
from importlib.util import find_spec

import torch


def usable(device: torch.device) -> bool:
    """Whether kernels run on this device: a GPU that Triton compiles for, or a CPU where its interpreter was asked for."""
    if find_spec("triton") is None:
        return False
    return device.type in ("cuda", "xpu") or (device.type == "cpu" and os.environ.get("TRITON_INTERPRET") == "1")


def cdiv(n: int, d: int) -> int:
    """How many pieces of d cover n."""
    return -(-n // d)


def power_of_two(n: int) -> int:
    """The least power of two that is n or more: the sizes that blocks of values have."""
    return 1 << (n - 1).bit_length() if n > 1 else 1


def stages(most: int) -> int:
    """Loads in flight of a loop's tiles: AMD's chips have less memory beside their cores for them."""
    return min(2, most) if torch.version.hip else most
