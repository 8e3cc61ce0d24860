"""Pages of documentation as tests see them: fenced blocks, the commands in them, links and anchors."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

#: Languages of blocks that a reader runs, and of those that are only looked at. A block of any other is an error, lest commands hide in it.
RUN = ("sh", "python")
SHOWN = ("text", "text example", "toml", "json", "py", "c++")

_FENCE = re.compile(r"^```(?P<language>[^\n`]*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_HERE = re.compile(r"<<'?(\w+)'?")


@dataclass(frozen=True)
class Block:
    """A fenced block. ``line`` is that of its first line of text; ``shows`` is the block of output that stands right after it."""

    page: Path
    line: int
    language: str
    text: str
    shows: str | None = None

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> list[Block]:
    """The fenced blocks of a page. A block ``text`` after one that is run is its output, where ``...`` stands for anything."""
    source, found = page.read_text(), []
    matches = list(_FENCE.finditer(source))
    for match, after in zip(matches, [*matches[1:], None], strict=True):
        shows = None
        if after is not None and after["language"] == "text" and not source[match.end() : after.start()].strip():
            shows = after["text"]
        found.append(Block(page, source.count("\n", 0, match.start("text")) + 1, match["language"], match["text"], shows))
    return found


def commands(block: Block) -> Iterator[tuple[int, str]]:
    """The commands of a ``sh`` block, each with its line: lines, put together where quotes, a backslash or ``<<END`` go on."""
    at, held = block.line, ""
    for number, line in enumerate(block.text.splitlines(), block.line):
        at, held = (number, line) if not held else (at, f"{held}\n{line}")
        if _goes_on(held):
            continue
        if words(held):
            yield at, held.strip()
        held = ""
    assert not held, f"{block}: the command has no end: {held!r}"


def words(command: str) -> list[str]:
    """A command's words, without comments and without the text behind ``<<END``. Raises ValueError for an open quote."""
    return shlex.split(command.splitlines()[0] if _HERE.search(command) else command, comments=True)


def _goes_on(text: str) -> bool:
    if here := _HERE.search(text):
        return text.splitlines()[-1] != here[1]
    try:
        words(text)
    except ValueError:
        return True
    return text.endswith("\\")


def prose(page: Path) -> str:
    """A page without its fenced blocks and comments."""
    return re.sub(r"<!--.*?-->", "", _FENCE.sub("", page.read_text()), flags=re.DOTALL)


def links(page: Path) -> list[str]:
    """Where a page's links and images go, as they are written."""
    text = re.sub(r"``.*?``|`[^`]*`", "", prose(page))
    return re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", text) + re.findall(r"(?:src|href)=\"([^\"]+)\"", text)


def anchors(page: Path) -> set[str]:
    """What ``#...`` can name in a page: its headings, as GitHub spells them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+\s+(.*?)\s*$", _FENCE.sub("", page.read_text()), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = base = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        number = 0
        while slug in found:
            number += 1
            slug = f"{base}-{number}"
        found.add(slug)
    return found
