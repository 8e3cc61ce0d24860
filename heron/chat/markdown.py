"""Markdown and plain text as lines of a terminal. Nothing of a text is left out, but the marks that are shown as colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from markdown_it.tree import SyntaxTreeNode
from rich.console import Console
from rich.style import Style
from rich.syntax import ANSISyntaxTheme, Syntax
from rich.text import Text

from heron.chat.blocks import parser
from heron.chat.lines import Line, mark, painted, styled, wrapped
from heron.chat.table import table

_PARSER = parser()

#: Colours of the terminal's own palette, those of them that can be read on light and on dark, by what Pygments calls parts of code.
_COLOURS = {
    "Comment": "dim",
    "Comment.Preproc": "cyan",
    "Keyword": "magenta",
    "Keyword.Type": "cyan",
    "Operator.Word": "magenta",
    "Name.Builtin": "cyan",
    "Name.Function": "bold",
    "Name.Class": "bold",
    "Name.Tag": "magenta",
    "Name.Attribute": "cyan",
    "Name.Decorator": "cyan",
    "Literal.String": "green",
    "Literal.Number": "cyan",
    "Generic.Heading": "bold",
    "Generic.Deleted": "red",
    "Generic.Inserted": "green",
}
_THEME = ANSISyntaxTheme({tuple(name.split(".")): Style.parse(style) for name, style in _COLOURS.items()})

#: Columns that what is nested deeply still has.
_NARROWEST = 16

#: Columns of the lines above and below code.
_FRAME = 40

#: What stands before each line of reasoning, and of a quotation.
_THOUGHT, _QUOTED = "│ ", "▌ "

_STYLES = {"strong": "bold", "em": "italic", "s": "strike"}


def markdown(console: Console, text: str, width: int) -> list[Line]:
    """Blocks as lines, an empty one between them. A block looks the same whatever stands beside it."""
    lines = _stacked(SyntaxTreeNode(_PARSER.parse(text)).children, width)
    return [painted(console, line) for line in lines or wrapped(Text(text), width)]  # what is nested too deeply is no Markdown


def thoughts(console: Console, text: str, width: int) -> list[Line]:
    """Reasoning: plain, dim, behind a bar."""
    lines = wrapped(Text(text.strip("\n")), max(_NARROWEST, width - len(_THOUGHT)))
    return [styled(console, _THOUGHT + line.plain, "dim") for line in lines]


def _stacked(nodes: Sequence[SyntaxTreeNode], width: int, gap: bool = True) -> list[Text]:
    lines: list[Text] = []
    for node in nodes:
        more = _BLOCKS.get(node.type, _plain)(node, max(_NARROWEST, width))
        lines += [Text()] * bool(gap and lines and more) + more
    return lines


def _behind(first: Text, rest: Text, lines: Sequence[Text]) -> list[Text]:
    return [(rest if at else first) + line for at, line in enumerate(lines)]


# Blocks


def _plain(node: SyntaxTreeNode, width: int) -> list[Text]:
    """A paragraph, and what there is no other way for."""
    return wrapped(_inline(node), width)


def _heading(node: SyntaxTreeNode, width: int) -> list[Text]:
    text = _inline(node)
    text.stylize("bold underline" if node.tag == "h1" else "bold")
    return wrapped(text, width)


def _list(node: SyntaxTreeNode, width: int) -> list[Text]:
    """Numbers as they were given; empty lines where the text has them."""
    first = int(node.attrs.get("start", 1)) if node.type == "ordered_list" else None
    numbers = ["•" if first is None else f"{first + at}." for at in range(len(node.children))]
    wide = max(map(len, numbers)) + 1
    loose = any(child.type == "paragraph" and not child.hidden for item in node.children for child in item.children)
    lines: list[Text] = []
    for number, item in zip(numbers, node.children, strict=True):
        inner = _stacked(item.children, width - wide - 1, loose) or [Text()]
        lines += [Text()] * bool(loose and lines) + _behind(mark(f" {number:>{wide - 1}} ", "cyan"), Text(" " * (wide + 1)), inner)
    return lines


def _quotation(node: SyntaxTreeNode, width: int) -> list[Text]:
    bar = mark(_QUOTED, "dim")
    return _behind(bar, bar, _stacked(node.children, width - len(_QUOTED)))


def _code(node: SyntaxTreeNode, width: int) -> list[Text]:
    """Not wrapped, so that what is copied is the code."""
    language = (node.info.split() or [""])[0]
    code = Syntax("", language or "text", theme=_THEME).highlight(node.content)
    code.rstrip()
    wide = min(width, _FRAME)
    title = f"── {language} " if language else ""
    return [mark(title.ljust(wide, "─"), "dim"), *code.split("\n", allow_blank=True), mark("─" * wide, "dim")]


def _rule(node: SyntaxTreeNode, width: int) -> list[Text]:
    return [mark("─" * min(width, _FRAME), "dim")]


def _table(node: SyntaxTreeNode, width: int) -> list[Text]:
    rows = [row.children for part in node.children for row in part.children]
    right = [str(cell.attrs.get("style", "")).endswith("right") for cell in rows[0]]
    return table([[_inline(cell) for cell in row] for row in rows], right, width)


_BLOCKS: dict[str, Callable[[SyntaxTreeNode, int], list[Text]]] = {
    "heading": _heading,
    "bullet_list": _list,
    "ordered_list": _list,
    "blockquote": _quotation,
    "fence": _code,
    "code_block": _code,
    "hr": _rule,
    "table": _table,
}


# Inside a block


def _inline(node: SyntaxTreeNode) -> Text:
    if node.type in ("softbreak", "hardbreak"):
        return Text("\n")  # models end a line where they mean it to end
    if node.type == "code_inline":
        return Text(node.content, "cyan")
    if node.type == "image":
        return _link(Text(node.content), str(node.attrs.get("src", "")))
    if not node.children:
        return Text(node.content)
    text = Text().join(map(_inline, node.children))
    if node.type == "link":
        return _link(text, str(node.attrs.get("href", "")))
    text.stylize(_STYLES.get(node.type, ""))
    return text


def _link(text: Text, target: str) -> Text:
    """With its address, unless that is what it says."""
    shown = text.plain
    text.stylize("underline")
    return text if target in (shown, f"mailto:{shown}") else text.append(f" ({target})", "dim")
