"""What is installed: Heron, Python, the system, libraries, and what computes on a GPU."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module, metadata
from json import loads
from pathlib import Path

import heron
from heron.cli.checks.check import Check, Died, apart
from heron.cli.info import human_bytes

#: Libraries whose version matters where something goes wrong.
LIBRARIES = ("numpy", "tokenizers", "llguidance", "gguf", "jinja2", "pydantic", "fastapi", "starlette", "uvicorn", "huggingface_hub")
EXTRAS = ("torch", "triton", "transformers")

_PACKAGE = Path(heron.__file__).parent


def installation(check: Check) -> None:
    """Heron's version and commit, and how it was installed."""
    commit, how = _commit(), _how()
    check.facts = {"version": heron.__version__, "commit": commit, "installed": how, "path": str(_PACKAGE)}
    check.says = [f"{heron.__version__}{f', commit {commit}' if commit else ''}", f"{how}, {_PACKAGE}"]


def _commit() -> str:
    """The commit of the tree that runs, or that pip built; "" where nothing tells."""
    if (_PACKAGE.parent / ".git").exists():
        commit = _said("git", "-C", str(_PACKAGE.parent), "rev-parse", "--short", "HEAD")
        changed = _said("git", "-C", str(_PACKAGE.parent), "status", "--porcelain", "--untracked-files=no")
        return f"{commit} with changes" if commit and changed else commit
    with suppress(metadata.PackageNotFoundError, ValueError, KeyError):
        return str(loads(metadata.distribution("heron").read_text("direct_url.json") or "{}")["vcs_info"]["commit_id"])[:7]
    return ""


def _how() -> str:
    inside = next((name for file, name in (("/.dockerenv", "Docker"), ("/run/.containerenv", "Podman")) if Path(file).exists()), "")
    where = "a wheel" if (_PACKAGE.parent / "numpy").is_dir() else "a source tree"  # beside other packages
    kind = "a virtual environment" if sys.prefix != sys.base_prefix else "the system's Python"
    return f"{where} in {kind}" + (f" in {inside}" if inside else "")


def _said(*line: str) -> str:
    """What a program prints; "" where there is none, or it fails."""
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def python(check: Check) -> None:
    bits = 64 if sys.maxsize > 2**32 else 32
    check.facts = {"version": platform.python_version(), "implementation": platform.python_implementation(), "path": sys.executable}
    check.says = [f"{platform.python_implementation()} {platform.python_version()}, {bits} bits", sys.executable]
    if bits < 64:
        check.problems.append("models are mapped into memory, which needs a 64-bit Python; install one")


def system(check: Check) -> None:
    name = ""
    with suppress(OSError, AttributeError):
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    libc = " ".join(filter(None, platform.libc_ver())) or ("musl" if list(Path("/lib").glob("ld-musl-*")) else "")
    check.facts = {"system": platform.system(), "release": platform.release(), "machine": platform.machine(), "name": name, "libc": libc}
    check.says = [f"{platform.system()} {platform.release()} {platform.machine()}", *filter(None, (name, libc))]


def libraries(check: Check) -> None:
    """Versions, held to what Heron asks for, and whether what is here can be loaded."""
    check.facts = {name: version for name in (*LIBRARIES, *EXTRAS) if (version := _version(name))}
    check.says = [f"{name} {version}" for name, version in check.facts.items()]
    needed = set(LIBRARIES)
    with suppress(metadata.PackageNotFoundError, ImportError):
        from packaging.requirements import Requirement

        for wanted in map(Requirement, metadata.requires("heron") or ()):
            extra, version = "torch" if wanted.name == "torch" else "", _version(wanted.name)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
                continue
            if version and not wanted.specifier.contains(version, prereleases=True):
                check.warnings.append(f"{wanted.name} {version} is here, Heron asks for {wanted}; run: pip install '{wanted}'")
            needed |= {wanted.name} - {"torch"}
    here = sorted(name for name in needed if _version(name))
    check.problems += [f"{name} is missing; run: pip install {name}" for name in sorted(needed - set(here))]
    broken = _broken(here).items()
    check.problems += [f"{name} cannot be loaded: {why}; run: pip install --force-reinstall {name}" for name, why in broken]


def _broken(names: list[str]) -> dict[str, str]:
    """Which libraries do not load, and why. One may end the process, as code for another CPU does: then each gets one of its own."""
    try:
        failing: dict[str, str] = apart("heron.cli.checks.software", "unloadable", names)
        return failing
    except Died as error:
        return {names[0]: str(error)} if len(names) == 1 else {name: why for each in names for name, why in _broken([each]).items()}


def unloadable(names: list[str]) -> dict[str, str]:
    """Why those that cannot be imported cannot."""
    failing = {}
    for name in names:
        try:
            import_module(name.replace("-", "_"))
        except Exception as error:
            failing[name] = f"{type(error).__name__}: {error}"
    return failing


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def gpu(check: Check) -> None:
    """Drivers, what they tell of GPUs, and whether torch can use them."""
    from heron.backends.torch import available, has_driver

    cards = _nvidia()
    torch = _version("torch")
    check.facts = {"driver": has_driver(), "torch": torch, "triton": _version("triton"), "cards": cards, "devices": []}
    check.says = [f"{card['name']}, {card['memory']}, driver {card['driver']}" for card in cards]
    if not has_driver():
        check.says += ["no driver of one; the CPU computes"]
        if platform.system() == "Darwin" and not available():
            check.says += ["Apple's is used by torch: pip install 'heron[torch]'"]
        return
    if not available():
        check.says += ["torch is not installed"]
        check.warnings.append("a GPU's driver is here, and torch computes on GPUs; run: pip install 'heron[torch]'")
        return
    try:
        seen = apart("heron.backends.torch.device", "seen")
    except Died as error:
        check.problems.append(f"torch {torch} fails: {error}; install it for this driver: https://pytorch.org/get-started/locally")
        return
    check.facts |= seen
    built = f" for {seen['built_for']}" if seen["built_for"] else ""
    check.says += [f"torch {torch}{built}", f"triton {check.facts['triton']}" if check.facts["triton"] else "no triton"]
    for device in seen["devices"]:
        check.says.append(f"{device['device']}: {device['name']}, {human_bytes(device['free'])} free of {human_bytes(device['memory'])}")
    if not seen["devices"]:
        check.warnings.append(f"torch {torch}{built} sees no GPU though a driver is here; install torch for this driver, or update it")


def _nvidia() -> list[dict[str, str]]:
    """What NVIDIA's own tool says of its cards."""
    tool = shutil.which("nvidia-smi")
    lines = _said(tool, "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader").splitlines() if tool else []
    return [
        dict(zip(("name", "memory", "driver"), map(str.strip, line.split(",")), strict=False)) for line in lines if line.count(",") == 2
    ]
