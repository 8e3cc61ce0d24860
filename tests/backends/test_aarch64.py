"""The kernels for aarch64, compiled by a cross compiler and run by an emulator (Debian's g++-aarch64-linux-gnu and qemu-user)."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
COMPILER, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
TARGET = (
    "-DCMAKE_SYSTEM_NAME=Linux",
    "-DCMAKE_SYSTEM_PROCESSOR=aarch64",
    f"-DCMAKE_CXX_COMPILER={COMPILER}",
    "-DCMAKE_EXE_LINKER_FLAGS=-static",
)


@pytest.fixture(scope="module")
def checks() -> Path:
    """tests/native/kernel_checks.cpp as a program for aarch64."""
    for tool in (COMPILER, EMULATOR, "cmake"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed")
    folder = ROOT / "build" / "aarch64"
    subprocess.run(["cmake", "-S", str(ROOT), "-B", str(folder), "-DHERON_CHECKS=ON", *TARGET], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)], check=True, capture_output=True)
    return folder / "kernel_checks"


CPUS = {
    "cortex-a53": ["portable", "neon"],
    "cortex-a76": ["portable", "neon", "dotprod"],
    "max": ["portable", "neon", "dotprod", "i8mm"],
}


@pytest.mark.parametrize(("cpu", "sets"), CPUS.items())
def test_kernels_are_right_on_every_instruction_set_of_a_cpu(checks: Path, cpu: str, sets: list[str]) -> None:
    run = subprocess.run([EMULATOR, "-cpu", cpu, str(checks)], capture_output=True, text=True)
    assert run.stdout.splitlines() == [*sets, "0 wrong"]
    assert run.returncode == 0
