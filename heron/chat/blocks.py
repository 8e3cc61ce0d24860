"""Where a Markdown text that is still growing has come to rest: its blocks but the last, which may yet change."""

from __future__ import annotations

from markdown_it import MarkdownIt

_PARSER = MarkdownIt().enable("table").enable("strikethrough")


def block_starts(text: str) -> list[int]:
    """Where each of the text's blocks begins, in characters."""
    lines = text.splitlines(keepends=True)
    begins = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    return [sum(map(len, lines[:begin])) for begin in begins]


def first_block(text: str) -> int:
    """Characters of the first block, white space after it included; 0 while it may yet change.

    A line that is not complete may become part of a block, or begin another.
    """
    starts = block_starts(text[: text.rfind("\n") + 1])
    return starts[1] if len(starts) > 1 else 0


def first_line(text: str) -> int:
    """The same of plain text, whose lines are its blocks."""
    return text.find("\n") + 1
