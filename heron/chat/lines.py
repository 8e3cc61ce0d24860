"""Lines of a terminal: their colours, how many rows they take, and where text is broken into them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from rich.cells import cell_len, chop_cells
from rich.console import COLOR_SYSTEMS, Console
from rich.style import Style
from rich.text import Text


@dataclass(frozen=True)
class Line:
    """One line: ``text`` with its colours, and ``plain`` without."""

    text: str
    plain: str

    @cached_property
    def cells(self) -> int:
        """Columns that it takes."""
        return cell_len(self.plain)

    def rows(self, columns: int) -> int:
        """Rows of a screen this wide that it fills: a character that is two columns wide is never cut in two."""
        return 1 if self.cells <= columns else len(chop_cells(self.plain, max(2, columns)))


EMPTY = Line("", "")


def console_for(**options: Any) -> Console:
    """A console that paints nothing that it is not told to."""
    return Console(highlight=False, **options)


def painted(console: Console, text: Text) -> Line:
    """In the console's colours, without white space at its end."""
    text.rstrip()
    system = COLOR_SYSTEMS[console.color_system] if console.color_system else None
    parts = [(part.text, part.style or Style.null()) for part in text.render(console) if part.text]
    parts = [(shown, style.without_color if console.no_color else style) for shown, style in parts]
    return Line("".join(style.render(shown, color_system=system) for shown, style in parts), text.plain)


def styled(console: Console, text: str, style: str) -> Line:
    """A line in one style."""
    return painted(console, mark(text, style))


def mark(text: str, style: str) -> Text:
    """Text in a style that what is put behind it does not take over."""
    return Text().append(text, style)


# Chinese and Japanese are written without spaces: a line may end after each character, but for marks that belong to the one before
# or after.
_WIDE = "\u2e80-\u9fff\uf900-\ufaff\ufe30-\uffef\U00020000-\U0003ffff"
_OPENING = "（［｛「『【〔《〈〖〘｢“‘"
_CLOSING = "、。，．・：；？！）］｝」』】〕》〉〗〙｣”’ー々ぁぃぅぇぉっゃゅょァィゥェォッャュョ…‥％"
_CHUNK = re.compile(f" *[{_OPENING}]*(?:[{_WIDE}]|[^ {_WIDE}]+|$)[{_CLOSING}]*")


def wrapped(text: Text, width: int) -> list[Text]:
    """The text as lines of at most so many columns; longer words are broken. Spaces at which a line is broken are left out."""
    lines: list[Text] = []
    for line in text.split("\n", allow_blank=True):
        spans = list(_spans(line.plain, width)) if cell_len(line.plain) > width else []
        lines += list(line.divide([at for span in spans for at in span]))[1::2] if spans else [line]
    return lines


def _spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Where the lines of one that is too long begin and end."""
    begin = end = used = 0
    for chunk in _CHUNK.finditer(text):
        cells = cell_len(chunk[0])
        if used + cells > width:
            if end > begin:
                yield begin, end
                begin = chunk.end() - len(chunk[0].lstrip(" "))
            for piece in chop_cells(text[begin : chunk.end()], width)[:-1]:  # of a word that is longer than a line
                yield begin, begin + len(piece)
                begin += len(piece)
            used = cell_len(text[begin : chunk.end()])
        else:
            used += cells
        end = chunk.end()
    if end > begin:
        yield begin, end
