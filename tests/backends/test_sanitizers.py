"""The kernel tests pass on cores that watch themselves: AddressSanitizer with UndefinedBehaviorSanitizer, and ThreadSanitizer.

Run by `make sanitize`. Each core is built in build/<sanitizer>, beside links to Heron's Python files, and loaded from there.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SUITE = (
    "tests/backends/test_native_attention.py",
    "tests/backends/test_native_linear.py",
    "tests/backends/test_native_ops.py",
    "tests/backends/test_native_program.py",
    "tests/backends/test_threads.py",
    "tests/engine/test_native_sampler.py",
    "tests/quant/test_quantize.py",
)
# The runtimes that a program must load before all else, and a function that code calls where it is watched. AddressSanitizer looks for
# what throws exceptions when it starts, which an interpreter written in C would only load with the core.
RUNTIMES = {"address": ("libasan.so", "libstdc++.so"), "thread": ("libtsan.so",)}
WATCHING = {"address": b"__asan_report_load", "thread": b"__tsan_read"}
OPTIONS = {
    # Buffers get an allocation of their own, whose ends are watched; the interpreter's own objects are never all given back.
    "address": {"PYTHONMALLOC": "malloc", "ASAN_OPTIONS": "detect_leaks=0", "UBSAN_OPTIONS": "print_stacktrace=1"},
    "thread": {"TSAN_OPTIONS": "halt_on_error=0 exitcode=66"},
}
# An editable install finds its modules before any path is looked at.
FORGET_INSTALLED = "import sys\nsys.meta_path[:] = [f for f in sys.meta_path if type(f).__name__ != 'ScikitBuildRedirectingFinder']\n"


def runtimes(sanitizer: str) -> list[str]:
    """Where the compiler keeps the sanitizer's runtime; skips where it has none."""
    compiler = os.environ.get("CXX", "c++")
    if sys.platform != "linux" or not all(map(shutil.which, (compiler, "cmake"))) or not importlib.util.find_spec("nanobind"):
        pytest.skip("building the core takes Linux, a compiler, cmake and nanobind")
    found = []
    for library in RUNTIMES[sanitizer]:
        run = subprocess.run([compiler, f"-print-file-name={library}"], capture_output=True, text=True, check=True)
        if not os.path.isabs(run.stdout.strip()):
            pytest.skip(f"the compiler has no {library}")
        found.append(run.stdout.strip())
    return found


def build(name: str, *options: str) -> Path:
    """The folder build/`name`, with what cmake makes there."""
    folder = ROOT / "build" / name
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DCMAKE_BUILD_TYPE=RelWithDebInfo", *options]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(folder), "--parallel", str(os.cpu_count() or 1)], check=True, capture_output=True)
    return folder


def build_heron(sanitizer: str) -> Path:
    """A folder that `heron` is imported from, with the watched core."""
    folder = build(sanitizer, f"-DHERON_SANITIZE={sanitizer}", f"-DPython_EXECUTABLE={sys.executable}")
    for path in (ROOT / "heron").iterdir():
        link = folder / "heron" / path.name
        if not path.name.startswith(("_core.cpython", "__pycache__")) and not link.is_symlink():
            link.symlink_to(path)
    (folder / "sitecustomize.py").write_text(FORGET_INSTALLED)
    return folder


@pytest.mark.parametrize("sanitizer", ["address", "thread"])
def test_the_core_does_nothing_that_a_sanitizer_reports(sanitizer: str) -> None:
    environment = {**os.environ, **OPTIONS[sanitizer], "LD_PRELOAD": ":".join(runtimes(sanitizer))}
    folder = build_heron(sanitizer)
    environment |= {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    where = [sys.executable, "-c", "from heron import _core; print(_core.__file__)"]
    core = Path(subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout.strip())
    assert core.parent == folder / "heron"
    assert WATCHING[sanitizer] in core.read_bytes()
    here = ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(ROOT), *(str(ROOT / path) for path in SUITE)]
    # -s: what a sanitizer reports during a test that passes is not kept from us.
    command = [sys.executable, "-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", *here]
    run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.returncode == 0, run.stdout[-20000:]
    assert "WARNING: ThreadSanitizer" not in run.stdout


def test_kernels_stay_within_arrays_that_end_where_their_numbers_do() -> None:
    runtimes("address")
    folder = build("checks", "-DHERON_CHECKS=ON", "-DHERON_SANITIZE=address")
    run = subprocess.run([folder / "kernel_checks"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert run.stdout.endswith("\n0 wrong\n") and run.returncode == 0, run.stdout[-20000:]
