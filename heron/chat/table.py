"""Tables that fit the screen: cells are wrapped, and rows that are too narrow for that are written one cell below the other."""

from __future__ import annotations

from collections.abc import Sequence

from rich.text import Text

from heron.chat.lines import mark, wrapped

#: Columns between two columns, and that one has at least.
_GAP, _NARROWEST = 2, 8


def table(rows: Sequence[Sequence[Text]], right: Sequence[bool], width: int) -> list[Text]:
    """The first row is the heading; ``right`` says which columns stand at their right."""
    wanted = [max(_cells(row[at]) for row in rows) for at in range(len(right))]
    widths = _shared(wanted, width - _GAP * (len(right) - 1))
    if any(have < min(want, _NARROWEST) for have, want in zip(widths, wanted, strict=True)):
        return _listed(rows, width)
    for cell in rows[0]:
        cell.stylize("bold")
    lines = [_row([wrapped(cell, wide) for cell, wide in zip(row, widths, strict=True)], widths, right) for row in rows]
    rule = [mark("─" * (sum(widths) + _GAP * (len(widths) - 1)), "dim")]
    apart = [Text()] * any(len(row) > 1 for row in lines[1:])  # else it cannot be seen where a row ends
    return [*lines[0], *rule, *(line for at, row in enumerate(lines[1:]) for line in [*(apart if at else []), *row])]


def _cells(text: Text) -> int:
    return max((line.cell_len for line in text.split("\n")), default=0)


def _shared(wanted: Sequence[int], have: int) -> list[int]:
    """As wide as each column wants to be; where there is too little, the widest give way, all to one width."""
    widths, left = list(wanted), have
    for place, at in enumerate(sorted(range(len(wanted)), key=lambda at: wanted[at])):
        widths[at] = max(0, min(wanted[at], left // (len(wanted) - place)))
        left -= widths[at]
    return widths


def _row(cells: Sequence[Sequence[Text]], widths: Sequence[int], right: Sequence[bool]) -> list[Text]:
    lines = []
    for at in range(max(map(len, cells))):
        line = Text()
        for column, cell in enumerate(cells):
            part = cell[at].copy() if at < len(cell) else Text()
            space = " " * (widths[column] - part.cell_len)
            line.append(" " * _GAP * bool(column)).append(space if right[column] else "").append_text(part)
            line.append("" if right[column] else space)
        lines.append(line)
    return lines


def _listed(rows: Sequence[Sequence[Text]], width: int) -> list[Text]:
    lines: list[Text] = []
    for row in rows[1:] or rows:
        lines += [Text()] * bool(lines)
        for name, cell in zip(rows[0], row, strict=True):
            lines += wrapped(Text.assemble((f"{name.plain}: " if rows[1:] else "", "bold"), cell), width)
    return lines
