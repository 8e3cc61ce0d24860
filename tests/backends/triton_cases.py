"""How Triton's kernels are tested without a GPU: interpreted on the CPU, and compiled for GPUs that are not there.

Kernels are interpreted or compiled as the environment says when triton is first imported, so one process cannot do both. A test
decorated with ``interpreted`` runs in a second process (one for the whole session) whose environment has ``TRITON_INTERPRET=1``;
pytest's own process compiles. A test module imports kernels at its top, behind ``pytest.importorskip("triton")``, and has both:

    @interpreted
    @pytest.mark.parametrize("n", [1, 37])
    def test_norm(n: int) -> None:  # arguments are parameters, not fixtures: they travel to the other process
        np.testing.assert_allclose(rms_norm(x, ...), expected)

    @pytest.mark.parametrize("target", TARGETS)
    def test_norm_compiles(target: str) -> None:
        compiles(lambda: rms_norm(torch.empty(4, 4096, dtype=torch.bfloat16), ...), target)

With ``HERON_TEST_DEVICE=cuda`` kernels are not interpreted, but compiled for the device and run there (tests/device.py).
With ``TRITON_INTERPRET=1`` set for pytest itself, interpreted tests run in place (for a debugger) and the others are skipped.
"""

from __future__ import annotations

import functools
import importlib
import multiprocessing
import os
import warnings
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any
from unittest.mock import patch

import pytest
import torch
from device import DEVICE, on_device

#: Name -> what ``GPUTarget`` takes: A100, H100 and H200, MI300.
TARGETS: dict[str, tuple[str, int | str, int]] = {"sm_80": ("cuda", 80, 32), "sm_90": ("cuda", 90, 32), "gfx942": ("hip", "gfx942", 64)}

#: Bytes of memory beside the cores that one program may have there: more compiles, but does not start.
SHARED = {"sm_80": 163 << 10, "sm_90": 227 << 10, "gfx942": 64 << 10}

INTERPRET = "TRITON_INTERPRET"

#: How torch's types are called in the signature of a kernel.
POINTERS = {
    torch.float32: "*fp32",
    torch.float16: "*fp16",
    torch.bfloat16: "*bf16",
    torch.uint8: "*u8",
    torch.int8: "*i8",
    torch.int16: "*i16",
    torch.int32: "*i32",
    torch.int64: "*i64",
    torch.bool: "*i1",
    torch.float8_e4m3fn: "*fp8e4nv",
    torch.float8_e5m2: "*fp8e5",
}


def interpreted(test: Callable[..., None]) -> Callable[..., None]:
    """The test, run where kernels are interpreted. What it raises is raised here, with its own traceback as the cause."""
    if DEVICE != "cpu":
        return on_device(test)
    if os.environ.get(INTERPRET) == "1":
        return test

    @functools.wraps(test)
    def elsewhere(*args: Any, **kwargs: Any) -> None:
        _interpreter().submit(_run, test.__module__, test.__qualname__, args, kwargs).result()

    return elsewhere


@functools.cache
def _interpreter() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin)


def _begin() -> None:
    os.environ[INTERPRET] = "1"
    _multiply_bf16()
    torch.set_num_threads(1)
    warnings.filterwarnings("error", category=RuntimeWarning, module="heron")


def _multiply_bf16() -> None:
    """Have the interpreter widen matrices of bf16 before it multiplies them: it holds them as integers, and multiplies those."""
    import triton.language as tl
    from triton.runtime.interpreter import InterpreterBuilder

    multiply = InterpreterBuilder.create_dot

    def widened(self: Any, *sides: Any) -> Any:
        wide = (self.cast_impl(side, tl.float32) if side.dtype.scalar == tl.bfloat16 else side for side in sides[:2])
        return multiply(self, *wide, *sides[2:])

    InterpreterBuilder.create_dot = widened


if os.environ.get(INTERPRET) == "1":
    _multiply_bf16()


def _run(module: str, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    getattr(importlib.import_module(module), name)(*args, **kwargs)


def compiles(call: Callable[[], object], target: str) -> int:
    """Compile, for a target that need not be there, each kernel that ``call`` launches, as it launches it; nothing runs.

    The tensors of the call (on the CPU) only give their types. Returns how many kernels were launched, which is one at least.
    """
    if os.environ.get(INTERPRET) == "1":
        pytest.skip(f"{INTERPRET}=1 interprets what this test compiles")
    from triton.runtime.jit import JITFunction

    launched: list[Any] = []

    def compile_instead(self: Any, *args: Any, grid: Any, warmup: bool = False, **kwargs: Any) -> None:
        assert all(size > 0 for size in grid), f"{self.__name__} is launched over an empty grid {grid}"
        compiled = _compile(self, args, kwargs, target)
        assert compiled.metadata.shared <= SHARED[target], f"{self.__name__} wants {compiled.metadata.shared} bytes of shared memory"
        launched.append(compiled)

    on_amd = patch.object(torch.version, "hip", "6" if TARGETS[target][0] == "hip" else None)
    with on_amd, patch.object(JITFunction, "run", compile_instead):
        call()
    assert launched, "the call launched no kernel"
    return len(launched)


def _compile(kernel: Any, args: tuple[Any, ...], kwargs: dict[str, Any], target: str) -> Any:
    """What triton does at a launch: types and constants by the arguments, and what is known of their alignment."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    options = {name: kwargs.pop(name) for name in ("num_warps", "num_stages") if name in kwargs}
    bound = kernel.signature.bind(*args, **kwargs)
    bound.apply_defaults()
    signature: dict[str, Any] = {}
    constants: dict[str, Any] = {}
    aligned: dict[tuple[int, ...], list[list[object]]] = {}

    def described(name: str, value: Any, place: tuple[int, ...]) -> Any:
        if isinstance(value, tuple):
            return tuple(described(name, part, (*place, i)) for i, part in enumerate(value))
        if isinstance(value, torch.Tensor) or (isinstance(value, int) and value % 16 == 0):
            aligned[place] = [["tt.divisibility", 16]]
        if isinstance(value, torch.Tensor):
            return POINTERS[value.dtype]
        if isinstance(value, int):
            return "i32" if abs(value) < 1 << 31 else "i64"
        assert isinstance(value, float), f"{name} of {kernel.__name__} is {value!r}"
        return "fp32"

    for i, (parameter, value) in enumerate(zip(kernel.params, bound.arguments.values(), strict=True)):
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            signature[parameter.name], constants[parameter.name] = "constexpr", value
        else:
            signature[parameter.name] = described(parameter.name, value, (i,))
    source = ASTSource(kernel, signature, constants, aligned)
    return triton.compile(source, target=GPUTarget(*TARGETS[target]), options=options)
