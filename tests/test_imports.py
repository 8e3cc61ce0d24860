"""Imports go down only, and what is heavy is imported only where it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

#: From the bottom. A folder may import those before it.
ORDER = (
    "errors",
    "config",
    "hub",
    "quant",
    "checkpoint",
    "graph",
    "models",
    "backends",
    "text",
    "convert",
    "engine",
    "evaluate",
    "pocket",
    "chat",
    "server",
    "cli",
)
HEAVY = {"torch", "triton", "wgpu", "ray", "transformers"}
#: Where torch's own backend is, whose front imports the others when a model is made ready.
TORCH = ROOT / "heron" / "backends" / "torch"
FILES = sorted((ROOT / "heron").rglob("*.py"))


def imported(path: Path, at_import_time: bool = False) -> set[str]:
    """The modules that a file imports; all of them, or only those imported when it is."""
    tree = ast.parse(path.read_text())
    nodes = tree.body if at_import_time else list(ast.walk(tree))
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def place(module: str) -> int | None:
    parts = module.split(".")
    return ORDER.index(parts[1]) if parts[0] == "heron" and len(parts) > 1 and parts[1] in ORDER else None


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down(path: Path) -> None:
    own = place(".".join(path.relative_to(ROOT).with_suffix("").parts))
    if own is None:  # heron/__init__.py and __main__.py stand above everything
        return
    for module in imported(path):
        other = place(module)
        assert other is None or other <= own, f"{path.name} imports {module}, which stands above it"
        assert not (ORDER[own] in ("graph", "models") and module.startswith("heron.backends"))
        assert not (ORDER[own] == "text" and module.startswith(("heron.models", "heron.backends", "heron.graph")))


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_heavy_libraries_are_imported_lazily(path: Path) -> None:
    allowed = {"torch"} if TORCH in path.parents else set()
    if TORCH / "triton" in path.parents:
        allowed.add("triton")
    assert HEAVY & {module.split(".")[0] for module in imported(path)} <= allowed
    at_once = {module.split(".")[0] for module in imported(path, at_import_time=True)}
    assert not at_once & (HEAVY if path == TORCH / "__init__.py" else HEAVY - allowed)


def test_importing_heron_imports_nothing_heavy() -> None:
    code = "import sys, heron; print([m for m in ('numpy', 'torch', 'tokenizers', 'gguf', 'jinja2') if m in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert shown.stdout.strip() == "[]"


#: What a machine with a GPU may lack: the server's packages, those of the commands and of constraints, and the compiled core.
SPARE = (
    "fastapi",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "pydantic",
    "msgspec",
    "prometheus_client",
    "typer",
    "rich",
    "llguidance",
    "gguf",
    "huggingface_hub",
    "filelock",
)


def test_torch_needs_neither_the_core_nor_what_only_servers_need(tmp_path: Path) -> None:
    """A model is loaded and an engine runs; choosing tokens falls back on numpy."""
    pytest.importorskip("torch")
    from tiny_gguf import write_tiny
    from tiny_models import make

    path = write_tiny(make("llama", tmp_path).folder)
    code = f"""
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {SPARE} or name == "heron._core":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Absent())
import heron
model = heron.load({str(path)!r}, backend="torch", device="cpu", threads=1)
how = dict(max_tokens=4, seed=1, ignore_eos=True)
said = model.generate([5, 6, 7], temperature=0.8, **how).tokens
with heron.Engine(model) as engine:
    requests = [engine.submit([5, 6, 7], temperature=0.8, **how), engine.submit([5], repeat_penalty=1.2, **how)]
    while engine.step():
        pass
    print(requests[0].result().tokens == said, len(requests[1].result().tokens))
"""
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert shown.stdout.strip() == "True 4", shown.stderr
