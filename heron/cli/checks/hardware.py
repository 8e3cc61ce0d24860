"""What there is to compute with: the CPU, the kernels for it, memory, and how fast they are."""

from __future__ import annotations

import ast
import importlib.machinery
import math
import os
import platform
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import heron
from heron.cli.checks.check import REPORT, Check, Died, apart
from heron.cli.info import human_bytes
from heron.compiled import core
from heron.engine.control_group import allowed
from heron.engine.memory import available_bytes
from heron.engine.processor import processor

#: Bytes of memory below which little runs; a process's open files below which a server refuses clients; waiting programs for each CPU.
LITTLE_MEMORY, FEW_FILES, BUSY = 2 << 30, 1024, 1.5

_HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def cpu(check: Check) -> None:
    """Which CPU, and what of it this process may use."""
    found, quota = processor(), allowed().cores
    check.facts = {**vars(found), "quota": quota if math.isfinite(quota) else None, "load": None}
    check.says = [
        found.name,
        f"{_count(found.cores, 'core')}, {found.logical} logical"
        + ("" if found.allowed == found.logical else f", {found.allowed} allowed"),
    ]
    if math.isfinite(quota):
        check.says.append(f"a quota of {quota:g} cores")
    with suppress(OSError, AttributeError):
        check.facts["load"] = load = os.getloadavg()[0]
        check.says.append(f"load {load:.1f}")
        if load > BUSY * found.logical:
            check.warnings.append("other programs keep the CPU busy: Heron gets a part of it, and the figures below are low")
    if quota < 1:
        check.warnings.append(
            f"the control group allows {quota:g} of a core: answers come in bursts; give it a core or more (cpus, CPUQuota)"
        )
    if found.governor == "powersave" and "pstate" not in found.driver:  # with Intel's and AMD's the name means another thing
        check.warnings.append("the governor powersave keeps the clock low; run: cpupower frequency-set -g performance")
    if "VirtualApple" in found.name or (platform.machine() == "x86_64" and "Apple" in found.name):
        check.warnings.append("this Python is for x86 and is translated on an arm64 Mac; install an arm64 Python")


def kernels(check: Check) -> None:
    """Whether the core is compiled, which kernels it has for this CPU, and which it takes."""
    if core is None:
        check.says = ["not compiled: the reference backend computes, slowly"]
        check.facts = {"compiled": False, "found": [], "chosen": None, "threads": None}
        _why_none(check)
        return
    if lacking := _lacking(core, ast.parse((Path(heron.__file__).parent / "_core.pyi").read_text()).body):
        check.facts = {"compiled": True, "lacking": lacking, "file": core.__file__}
        check.problems.append(f"the core was compiled from other sources than these (it has no {lacking[0]}); {_again()}")
        return
    found, forced = core.instruction_sets(), os.environ.get("HERON_ISA", "")
    threads = core.Runtime(0).threads
    check.facts = {"compiled": True, "found": found, "chosen": forced or found[-1], "threads": threads, "file": core.__file__}
    check.says = [f"{forced or found[-1]}, of {' '.join(found)}", _count(threads, "thread")]
    if forced and forced not in found:
        check.problems.append(f"HERON_ISA={forced} is none that runs here ({', '.join(found)}); unset it")
    elif forced and forced != found[-1]:
        check.warnings.append(f"HERON_ISA forces {forced}, and {found[-1]} is here; unset it, if that is not for a comparison")
    if found == ["portable"] and platform.machine().lower() in ("x86_64", "amd64"):
        check.warnings.append("this CPU has no AVX2, or a virtual machine hides it: kernels are slow; choose its CPU model 'host'")


def _lacking(thing: object, declared: list[ast.stmt]) -> list[str]:
    """Functions, classes and methods that are declared and not there, as after an upgrade of all but the core."""
    named = [node for node in declared if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
    lacking = [node.name for node in named if not hasattr(thing, node.name)]
    for node in named:
        if isinstance(node, ast.ClassDef) and hasattr(thing, node.name):
            lacking += [f"{node.name}.{name}" for name in _lacking(getattr(thing, node.name), node.body)]
    return lacking


def _again() -> str:
    """What compiles the core anew."""
    tree = (Path(heron.__file__).parents[1] / "CMakeLists.txt").is_file()
    return f"in its clone run: pip install --force-reinstall --no-deps {'-e ' if tree else ''}."


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _why_none(check: Check) -> None:
    """Why there is no core, and what helps."""
    folder = Path(heron.__file__).parent
    files = [path.name for path in sorted(folder.glob("_core.*")) if path.suffix in (".so", ".pyd")]
    if set(files) & {f"_core{suffix}" for suffix in importlib.machinery.EXTENSION_SUFFIXES}:
        try:
            importlib.import_module("heron._core")
        except ImportError as error:
            check.problems.append(f"the core is here and cannot be loaded: {error}; install Heron anew on this machine")
            return
    if files:
        version = f"{sys.version_info.major}.{sys.version_info.minor}"
        check.warnings.append(f"the core was compiled for another Python ({files[0]}), and this is {version}; {_again()}")
    elif any(shutil.which(name) for name in ("c++", "g++", "clang++", "cl")):
        check.warnings.append(f"a compiler is here, and was not, or was too old for C++20, when Heron was installed; {_again()}")
    else:
        get = {"Darwin": "xcode-select --install", "Windows": "Visual Studio's Build Tools"}.get(
            platform.system(), "apt install g++ python3-dev, or alike"
        )
        check.warnings.append(f"Heron was installed without a C++ compiler; get one ({get}), then {_again()}")


def memory(check: Check) -> None:
    """What there is, what is free, and what limits it."""
    free, group = available_bytes(), allowed().memory
    told = _meminfo()
    total, swapped = told.get("MemTotal", 0), told.get("SwapTotal", 0) - told.get("SwapFree", 0)
    check.facts = {"total": total, "available": free, "limit": group if math.isfinite(group) else None, "swapped": swapped}
    check.says = [f"{human_bytes(free)} available" + (f" of {human_bytes(total)}" if total else "")]
    if math.isfinite(group):
        check.says.append(f"limited to {human_bytes(int(group))} by the control group")
    if swapped:
        check.says.append(f"{human_bytes(swapped)} swapped out")
    if free < LITTLE_MEMORY:
        check.warnings.append(f"{human_bytes(free)} is little: end other programs, or allow more; heron plan tells what a model takes")
    with suppress(OSError):
        check.facts["huge_pages"] = _HUGE_PAGES.read_text().strip()
        if "[never]" in _HUGE_PAGES.read_text():  # weights ask for them by madvise
            check.warnings.append(f"huge pages are off, which slows weights down; as root: echo madvise > {_HUGE_PAGES}")
    with suppress(ImportError):
        import resource

        locked, files = resource.getrlimit(resource.RLIMIT_MEMLOCK)[1], resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        addresses = resource.getrlimit(resource.RLIMIT_AS)[0]
        if addresses != resource.RLIM_INFINITY:
            check.says.append(f"{human_bytes(addresses)} of addresses")
            check.warnings.append(
                "addresses are limited, and a model takes as many as its file has bytes, and more; run: ulimit -v unlimited"
            )
        check.facts |= {"mlock": locked, "open_files": files}
        if 0 <= files < FEW_FILES:
            check.warnings.append(f"only {files} files and connections may be open at once; raise it: ulimit -n 65536")


def _meminfo() -> dict[str, int]:
    """/proc/meminfo in bytes."""
    with suppress(OSError, ValueError):
        lines = (line.split() for line in Path("/proc/meminfo").read_text().splitlines())
        return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines}
    return {}


def speed(check: Check) -> None:
    """How fast memory is read and int8 numbers are multiplied, which bound decoding and prompts."""
    try:
        limits = apart("heron.engine.limits", "machine_limits")
    except Died as error:
        check.problems.append(f"measuring failed: {error}; {REPORT}")
        return
    check.facts = limits
    check.says = [f"memory is read at {limits['read'] / 1e9:.1f} GB/s"]
    if "multiply" in limits:
        check.says.append(f"{limits['multiply'] / 1e9:.0f} G int8 multiply-adds/s")
