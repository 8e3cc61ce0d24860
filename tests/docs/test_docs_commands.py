"""Every command and every program of the README, the first pages and the course is run as it stands, by a reader with an empty home."""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack
from pathlib import Path

import pytest
from belongings import bring
from pages import ROOT, RUN, SHOWN, blocks, commands
from reader import Reader, alike

from heron.backends import native

PAGES = [ROOT / "README.md", ROOT / "docs/quickstart.md", ROOT / "docs/install.md"]
PAGES += sorted((ROOT / "docs/how-it-works").glob("*.md"))

#: What no test can run, and why. Everything else is run.
EXCUSED = {
    r"make \w+": "installs into an environment of its own, from the network",
    r"\. \.venv/bin/activate": "enters that environment",
    r"python3 -m venv": "makes one",
    r"pip install": "installs into it",
}

#: Of the errors in docs/install.md, those of the shell and of Python.
NOT_OURS = ("ensurepip is not available", "heron: command not found")


def skips(command: str) -> bool:
    """Whether a command is excused, or wants a program that this machine lacks."""
    return any(re.match(pattern, command) for pattern in EXCUSED) or (command.startswith("curl ") and not shutil.which("curl"))


@pytest.fixture(scope="module")
def belongings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("belongings")
    bring(folder)
    return folder


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page(page: Path, belongings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(belongings, tmp_path, dirs_exist_ok=True)
    with ExitStack() as around:
        Reader(tmp_path, monkeypatch, capsys, around).follow(page, skips)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_blocks_are_of_known_languages(page: Path) -> None:
    assert not [f"{block}: {block.language!r}" for block in blocks(page) if block.language not in RUN + SHOWN]


def test_every_excuse_is_needed() -> None:
    typed = [command for page in PAGES for block in blocks(page) if block.language == "sh" for _, command in commands(block)]
    assert len(typed) > 10
    assert not [pattern for pattern in EXCUSED if not any(re.match(pattern, command) for command in typed)]


def test_errors_that_the_page_explains_are_those_that_heron_gives() -> None:
    """Each of Heron's own, between what differs."""
    table = (ROOT / "docs/install.md").read_text().partition("| you see |")[2]
    errors = [row for row in re.findall(r"^\| `([^`]+)`", table, re.MULTILINE) if row not in NOT_OURS]
    sources = "\n".join(path.read_text() for kind in ("heron/**/*.py", "csrc/*.cpp") for path in ROOT.glob(kind))
    assert len(errors) > 12
    for error in errors:
        for part in re.split(r"\.\.\.", error):
            assert part.strip(" ():;,") in sources, part


def test_what_counts_as_a_command(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    lines = ["# a comment", "heron run -p 'a", "b'   # why", "heron info \\", "  x", "cat > f <<'END'", "it's", "END"]
    page.write_text("\n".join(["```sh", *lines, "```", "", "```text", "shown", "```", "and", "```text", "other", "```", ""]))
    first, *others = blocks(page)
    assert [command for _, command in commands(first)] == [
        "heron run -p 'a\nb'   # why",
        "heron info \\\n  x",
        "cat > f <<'END'\nit's\nEND",
    ]
    assert first.shows == "shown\n" and not [block.shows for block in others if block.shows]


def test_what_counts_as_the_same_output() -> None:
    assert alike("a ... c\n", "a  b\nc".replace("\nc", " c  \n")) and alike("a\n...\nc", "a\nb\nb\nc\n")
    assert not alike("a ... c", "a b") and not alike("a", "a\nb") and not alike("a+", "aa")
