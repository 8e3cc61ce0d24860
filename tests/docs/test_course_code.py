"""docs/how-it-works: the code that pages name is there, and what they show of it is what stands in the files."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from pages import ROOT, blocks, prose

COURSE = sorted((ROOT / "docs/how-it-works").glob("*.md"))
NUMBERED = [page for page in COURSE if page.name[0].isdigit()]

_NAMED = re.compile(r"\[`([^`\]]+)`\]\(([^)#]+)\)")


def sources(page: Path) -> dict[Path, list[str]]:
    """The files that a page links as code, each with the names that it gives for what is in them."""
    found: dict[Path, list[str]] = {}
    for name, path in _NAMED.findall(prose(page)):
        found.setdefault((page.parent / path).resolve(), []).append(name)
    return found


def defined(path: Path) -> set[str]:
    """What a Python file defines: functions, classes, methods as ``Class.method``, and names at its top."""
    names: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            names |= {f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef)}
        if isinstance(node, ast.Assign | ast.AnnAssign):
            names |= {target.id for target in ast.walk(node) if isinstance(target, ast.Name) and isinstance(target.ctx, ast.Store)}
    return names


def is_there(name: str, path: Path) -> bool:
    """A path, or the name of something that the file defines."""
    if "/" in name:
        return name.rstrip("/") in str(path)
    if path.suffix == ".py":
        return name in defined(path)
    return re.search(rf"\b(?:struct|class)\s+{name}\b|\b{name}\s*\(", path.read_text()) is not None


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.stem)
def test_named_code_is_there(page: Path) -> None:
    named = sources(page)
    assert not [path for path in named if not path.exists()]
    assert not [f"{name} in {path.relative_to(ROOT)}" for path, names in named.items() for name in names if not is_there(name, path)]
    assert len(named) >= 3 or page not in NUMBERED


@pytest.mark.parametrize("page", COURSE, ids=lambda page: page.stem)
def test_excerpts_are_what_stands_in_a_file(page: Path) -> None:
    texts = ["\n".join(line.strip() for line in path.read_text().splitlines()) for path in sources(page) if path.is_file()]
    for block in blocks(page):
        if block.language in ("py", "c++"):
            lines = [line.strip() for line in block.text.strip().splitlines()]
            assert len(lines) <= 15
            assert any("\n".join(lines) in text for text in texts), f"{block}: this stands in none of the files that the page names"


@pytest.mark.parametrize("page", NUMBERED, ids=lambda page: page.stem)
def test_a_page_has_what_each_has(page: Path) -> None:
    text = page.read_text()
    number = int(page.name[:2])
    assert (text.startswith(f"# {number}. ") and "**To think about.**" in text) or number == 11
    assert any(block.language in ("sh", "python") for block in blocks(page))
    following = [other.name for other in NUMBERED if int(other.name[:2]) == number + 1]
    assert all(f"Next: [{(page.parent / name).read_text().splitlines()[0].split('. ', 1)[1]}]({name})" in text for name in following)
    assert f"({page.name})" in (page.parent / "README.md").read_text()


def test_names_that_are_not_there_are_seen() -> None:
    engine = ROOT / "heron/engine/engine.py"
    assert is_there("Engine.submit", engine) and not is_there("Engine.resubmit", engine) and not is_there("submit", engine)
    assert is_there("kv_write", ROOT / "csrc/ops_attention.cpp") and not is_there("kv_wrote", ROOT / "csrc/ops_attention.cpp")
