"""Markdown that grows is drawn so that the screen and its scrollback end as if it had been drawn once."""

from __future__ import annotations

import io
import os
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heron.chat.blocks import first_block
from heron.chat.clean import inert
from heron.chat.lines import Line, console_for
from heron.chat.markdown import markdown, thoughts
from heron.chat.tail import Tail
from heron.chat.view import View
from heron.text.reasoning import Part


class Screen(io.StringIO):
    """What a terminal makes of what is written: lines, wrapped at its width; the cursor reaches what is on the screen."""

    def __init__(self, columns: int = 40, lines: int = 8) -> None:
        super().__init__()
        self.columns, self.height = columns, lines
        self.rows, self.row, self.column = [""], 0, 0

    def size(self) -> os.terminal_size:
        return os.terminal_size((self.columns, self.height))

    def write(self, text: str) -> int:
        for found in re.finditer(r"\x1b\[([\d;]*)([A-Za-z])|\n|\r|[^\x1b\n\r]", text):
            if found[2] == "A":
                self.row = max(len(self.rows) - self.height, 0, self.row - int(found[1]))
            elif found[2] == "J":
                self.rows[self.row] = self.rows[self.row][: self.column]
                del self.rows[self.row + 1 :]
            elif found[0] == "\r":
                self.column = 0
            elif found[0] == "\n":
                self._next()
            elif found[2] is None:
                if self.column == self.columns:
                    self._next()
                self.rows[self.row] = self.rows[self.row][: self.column].ljust(self.column) + found[0]
                self.column += 1
        return len(text)

    def _next(self) -> None:
        self.row, self.column = self.row + 1, 0
        if self.row == len(self.rows):
            self.rows.append("")


def lines(*texts: str) -> list[Line]:
    return [Line(text, text) for text in texts]


def test_a_block_is_drawn_again_and_then_left_alone() -> None:
    screen = Screen()
    tail = Tail(screen, screen.size)
    tail.show(lines("a"))
    tail.show(lines("a", "b"))
    tail.show(lines("A", "b", "c"))
    tail.settle()
    tail.show(lines("d"))
    assert screen.rows == ["A", "b", "c", "d", ""]
    tail.show([])
    assert screen.rows == ["A", "b", "c", ""]


def test_what_is_out_of_reach_stays() -> None:
    screen = Screen(lines=4)
    tail = Tail(screen, screen.size)
    for count in range(1, 10):
        tail.show(lines(*(f"line {at}" for at in range(count))))
    assert screen.rows == [*(f"line {at}" for at in range(9)), ""]
    assert tail.begun


def test_lines_wider_than_the_screen_are_counted_as_they_are_wrapped() -> None:
    screen = Screen(columns=10)
    tail = Tail(screen, screen.size)
    tail.show(lines("x" * 25, "y"))
    tail.show(lines("x" * 25, "z"))
    tail.show(lines("w" * 25, "z"))
    assert screen.rows == ["w" * 10, "w" * 10, "w" * 5, "z", ""]


TEXT = """# Title

A paragraph with **bold** words, long enough that it is wrapped, and then
goes on.

- one
- two

  with more
1. first

```python
def f():

    return 1
```

| a | b |
|---|---|
| 1 | 2 |

> quote

The end."""


def drawn(parts: list[Part], **looks: bool) -> list[str]:
    """The rows of a screen on which a view was drawn after each part."""
    screen = Screen(lines=6)
    view = View(console_for(file=screen, force_terminal=True, width=40), screen.size, looks.get("markdown", True), looks.get("hide", False))
    for part in parts:
        view.take([part])
        view._next = 0.0  # draw, however soon
        view.draw()
    view.end()
    return [row.rstrip() for row in screen.rows]


@pytest.mark.parametrize("step", [1, 3, 17, 1000])
def test_a_growing_answer_ends_as_if_it_had_come_at_once(step: int) -> None:
    pieces = [Part(TEXT[at : at + step], False) for at in range(0, len(TEXT), step)]
    whole = drawn([Part(TEXT, False)])
    assert drawn(pieces) == whole
    assert "    return 1" in whole and " • one" in whole and "Title" in whole[0]
    assert not any("**" in row or "```" in row for row in whole)


GROWING = ["a\n", "\n", "# h\n", "- x\n", "1. y\n", "```\n", "  z\n", "> q\n", "|a|\n", "|-|\n", "---\n", "w "]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.sampled_from(["a\n", "\n", "# h\n", "- x\n", "1. y\n", "```\n", "  z\n", "> q\n", "|a|\n", "|-|\n", "---\n", "w "]), max_size=14
    )
)
def test_whole_blocks_are_as_they_will_be(parts: list[str]) -> None:
    """What is settled early is what would be settled late: the same blocks, in the same places."""
    text, early, at = "".join(parts), [], 0
    for end in range(1, len(text) + 1):
        while count := first_block(text[at:end]):
            early.append(count)
            at += count
    late, at = [], 0
    while count := first_block(text[at:]):
        late.append(count)
        at += count
    assert early == late


def test_reasoning_and_answer_stand_apart() -> None:
    rows = drawn([Part("Hm.\n\nSo", True), Part(" it is.", True), Part("**Yes**", False)])
    assert rows == ["│ Hm.", "│", "│ So it is.", "", "Yes", ""]
    hidden = drawn([Part("Hm.", True), Part("Yes", False)], hide=True)
    assert hidden[0].startswith("thought for ") and hidden[1:] == ["", "Yes", ""]


def test_markdown_is_left_alone_where_that_is_wanted() -> None:
    assert drawn([Part("**a**\n", False), Part("# b", False)], markdown=False) == ["**a**", "# b", ""]


def test_nothing_is_a_command_to_the_terminal() -> None:
    evil = "a\x1b[31mb\x1b]0;title\x07c\x9b2Jd\re\x7f\u202ef\tg\n"
    assert inert(evil).startswith("a[31mb]0;titlec2Jdef")
    assert not set(inert(evil)) & {"\x1b", "\x07", "\x9b", "\r", "\x7f", "\u202e", "\t"}
    assert inert("größer 日本 👍🏽\n") == "größer 日本 👍🏽\n"


def test_code_is_not_wrapped_so_that_it_can_be_copied() -> None:
    long = "x = " + "1 + " * 30 + "1"
    found = markdown(console_for(file=io.StringIO()), f"```python\n{long}\n```", 40)
    assert [line.text for line in found][1] == long


def test_colours_come_where_the_terminal_has_them() -> None:
    coloured = console_for(file=io.StringIO(), force_terminal=True, color_system="standard")
    assert thoughts(coloured, "a", 40)[0].text == "\x1b[2m│ a\x1b[0m"
    assert "\x1b[1m" in markdown(coloured, "**b**", 40)[0].text
    assert thoughts(console_for(file=io.StringIO(), color_system=None), "a", 40)[0].text == "│ a"


def test_wide_characters_are_wrapped_by_their_columns() -> None:
    console = console_for(file=io.StringIO())
    for render in (thoughts, markdown):
        found = render(console, "日本語の文章は空白なしに続く。" * 4, 40)
        assert len(found) > 2 and all(line.cells <= 40 for line in found)
        assert "".join(line.text.removeprefix("│ ") for line in found) == "日本語の文章は空白なしに続く。" * 4
