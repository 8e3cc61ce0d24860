"""Where a Markdown text that is still growing has come to rest: its blocks but the last, which may yet change."""

from __future__ import annotations

from markdown_it import MarkdownIt

from heron.chat.formulas import formulas


def parser() -> MarkdownIt:
    """CommonMark with tables, as models mean it: tags and definitions of links are text, and formulas are left as they are."""
    made = MarkdownIt("commonmark", {"html": False, "maxNesting": 50}).enable(["table", "strikethrough"]).disable("reference")
    return made.use(formulas)


_BLOCKS = parser().disable(["inline", "text_join"])


def first_block(text: str) -> int:
    """Characters of the first block, white space after it included; 0 while it may yet change.

    A line that is not complete may become part of a block, or begin another.
    """
    text = text[: text.rfind("\n") + 1]
    starts = [token.map[0] for token in _BLOCKS.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    return sum(len(line) + 1 for line in text.split("\n")[: starts[1]]) if len(starts) > 1 else 0


def first_line(text: str) -> int:
    """The same of plain text, whose lines are its blocks."""
    return text.find("\n") + 1
