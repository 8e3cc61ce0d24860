"""Markdown and plain text as lines of a terminal."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from markdown_it.token import Token
from rich.console import COLOR_SYSTEMS, Console, ConsoleOptions, RenderResult
from rich.markdown import CodeBlock, Heading, Markdown, MarkdownElement
from rich.segment import Segment
from rich.style import Style
from rich.syntax import Syntax
from rich.text import Text
from rich.theme import Theme

from heron.chat.blocks import block_starts

#: Colours of the terminal's own palette, readable on light and on dark.
_THEME = "ansi_dark"

#: Where rich's own choice is a background, which is wrong on half of all terminals, or loud.
_STYLES = Theme(
    {
        "markdown.code": "cyan",
        "markdown.code_block": "none",
        "markdown.block_quote": "italic",
        "markdown.item.bullet": "cyan",
        "markdown.item.number": "cyan",
        "markdown.link_url": "underline dim",
        "markdown.link": "underline",
    }
)

#: What stands before each line of reasoning.
_BAR = "│ "


@dataclass(frozen=True)
class Line:
    """One line with its colours, and how many columns it takes: a terminal wraps one that is wider."""

    text: str
    cells: int


class _Heading(Heading):
    """At the left, without a box."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        self.text.justify = "left"
        self.text.stylize("bold underline" if self.tag == "h1" else "bold")
        yield self.text


class _CodeBlock(CodeBlock):
    """On the terminal's own background."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield Syntax(str(self.text).rstrip(), self.lexer_name, theme=_THEME, background_color="default", word_wrap=True)


class _Markdown(Markdown):
    elements: ClassVar[dict[str, type[MarkdownElement]]] = {
        **Markdown.elements,
        "heading_open": _Heading,
        "fence": _CodeBlock,
        "code_block": _CodeBlock,
    }


def console_for(**options: Any) -> Console:
    """A console in Heron's colours."""
    return Console(highlight=False, theme=_STYLES, **options)


def markdown(console: Console, text: str, width: int) -> list[Line]:
    """Blocks as lines, an empty one between them. A block looks the same whatever stands beside it."""
    starts = block_starts(text) or [0]
    found: list[Line] = []
    for begin, end in zip(starts, [*starts[1:], len(text)], strict=True):
        found += [*([Line("", 0)] if found else []), *_block(console, text[begin:end], width)]
    return found


def _block(console: Console, text: str, width: int) -> list[Line]:
    rendered = _Markdown(text, code_theme=_THEME, hyperlinks=False)
    if len(rendered.parsed) == 1 and rendered.parsed[0].type in ("fence", "code_block"):
        return _code(console, rendered.parsed[0], width)
    lines = [_line(console, line) for line in console.render_lines(rendered, console.options.update(width=width), pad=False)]
    while lines and not lines[0].text:
        del lines[0]
    while lines and not lines[-1].text:
        del lines[-1]
    return lines


def _code(console: Console, block: Token, width: int) -> list[Line]:
    """Not wrapped, so that what is copied is the code."""
    language = block.info.split()[0] if block.info.split() else "text"
    code = Syntax("", language, theme=_THEME, background_color="default").highlight(block.content)
    code.rstrip()
    wide = min(width, 40)
    title = f"── {language} " if block.info.strip() else ""
    rows = [_line(console, list(row.render(console))) for row in code.split("\n", allow_blank=True)]
    return [styled(console, title.ljust(wide, "─"), "dim"), *rows, styled(console, "─" * wide, "dim")]


def thoughts(console: Console, text: str, width: int) -> list[Line]:
    """Reasoning: plain, dim, behind a bar."""
    lines = Text(text.strip("\n")).wrap(console, max(8, width - len(_BAR)))
    return [styled(console, _BAR + line.plain.rstrip(), "dim") for line in lines]


def styled(console: Console, text: str, style: str) -> Line:
    """A line in one style."""
    return _line(console, [Segment(text, console.get_style(style))])


def _line(console: Console, segments: list[Segment]) -> Line:
    """Without white space at its end, and without links that a model may have written."""
    segments = [Segment(each.text, each.style) for each in segments if not each.control and each.text not in ("", "\n")]
    while segments and not segments[-1].text.strip() and not (segments[-1].style and segments[-1].style.bgcolor):
        segments.pop()
    if segments:
        segments[-1] = Segment(segments[-1].text.rstrip(" \n"), segments[-1].style)
    system = COLOR_SYSTEMS[console.color_system] if console.color_system and not console.no_color else None
    painted = "".join((each.style or Style.null()).render(each.text, color_system=system) for each in segments)
    return Line(painted, sum(each.cell_length for each in segments))
