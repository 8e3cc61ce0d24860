"""Devices and number types by their names."""

from __future__ import annotations

from typing import Any

import torch

from heron.errors import BackendError

DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}


def find_device(name: str) -> torch.device:
    """The device of this name (``cpu``, ``cuda:1``, ``xpu``, ``mps``). Raises BackendError where there is none."""
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise BackendError(f"torch {torch.__version__} cannot use device {name!r} ({reason}); there are {', '.join(_present())}") from None
    return device


def _present() -> list[str]:
    found = ["cpu"]
    found += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    found += [f"xpu:{i}" for i in range(torch.xpu.device_count())] if torch.xpu.is_available() else []
    return found + (["mps"] if torch.backends.mps.is_available() else [])


def compute_dtype(device: torch.device, asked: str) -> torch.dtype:
    """The type that values and products have: what is asked for; by itself f32 on a CPU, bf16 on a GPU that has it, else f16."""
    if asked != "auto":
        return DTYPES[asked]
    if device.type == "cpu":
        return torch.float32
    if device.type == "xpu" or (device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)):
        return torch.bfloat16
    return torch.float16


def free_bytes(device: torch.device) -> int | None:
    """Bytes that the device can still give, those that torch keeps for reuse included; None where torch does not say, and on a CPU."""
    if device.type == "cuda":
        kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return int(torch.cuda.mem_get_info(device)[0]) + kept
    if device.type == "xpu":
        return int(torch.xpu.mem_get_info(device)[0])
    return None


def seen() -> dict[str, Any]:
    """What torch was built for, and each GPU that it sees: name, bytes of memory and how much of it is free."""
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else f"ROCm {torch.version.hip}" if torch.version.hip else ""
    found = []
    for name in _present()[1:]:
        device = torch.device(name)
        if device.type == "mps":
            found.append({"device": name, "name": "Apple's", "memory": torch.mps.recommended_max_memory(), "free": 0})
            continue
        of = torch.cuda if device.type == "cuda" else torch.xpu
        free, memory = of.mem_get_info(device)
        found.append({"device": name, "name": of.get_device_name(device), "memory": memory, "free": free})
    return {"built_for": built, "devices": found}
