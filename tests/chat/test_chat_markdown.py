"""Markdown on a screen: nothing of what a model wrote is lost, whatever the width."""

from __future__ import annotations

import io
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.text import Text

from heron.chat.blocks import first_block
from heron.chat.lines import Line, console_for, wrapped
from heron.chat.markdown import markdown


def shown(text: str, width: int = 60, **console: object) -> list[str]:
    return [line.text for line in markdown(console_for(file=io.StringIO(), **console), text, width)]


def test_tags_are_text() -> None:
    """A model that speaks of `<br>`, or of `vector<int>`, is not a page of the web."""
    assert shown("Use <br>, or vector<int> v.\n\n<details>\n<b>x</b>\n</details>\n\nend") == [
        *("Use <br>, or vector<int> v.", "", "<details>", "<b>x</b>", "</details>", "", "end"),
    ]


def test_lines_end_where_the_model_ended_them() -> None:
    assert shown("An old silent pond\nA frog jumps into the pond\nSplash!") == [
        "An old silent pond",
        "A frog jumps into the pond",
        "Splash!",
    ]


@pytest.mark.parametrize(
    "text",
    [
        r"so \(a_1 * b_2 * c\) and \[ x = \frac{1}{2} \\ y \]",
        "$a_1*b_2*c$ and $$\\sum_{i=1}^{n} x_i * y_i * z$$",
        "from $5 to $6, or 5$ and 6$",
        "[1]: http://example.com",
        "see [1] and [^2]",
    ],
)
def test_what_commonmark_would_change_stays(text: str) -> None:
    assert shown(text) == [text]


def test_links_and_images_show_their_address_once() -> None:
    text = "[here](http://a.b/c?d=1), ![a cat](cat.png), <http://e.f> and <me@g.h>"
    assert shown(text, 100) == ["here (http://a.b/c?d=1), a cat (cat.png), http://e.f and me@g.h"]
    long = f"![x](http://a.b/{'c' * 90}) and what follows"
    assert "".join(shown(long, 40)).replace(" ", "") == f"x(http://a.b/{'c' * 90})andwhatfollows"


def test_lists_keep_their_numbers_and_their_code() -> None:
    text = "9. nine\n10. ten\n    - deep\n\n   ```sh\n   ls -l\n   ```\n11. eleven\n\n7) seven"
    assert [line.rstrip() for line in shown("9. nine\n10. ten\n    - deep\n11. more")] == [
        "  9. nine",
        " 10. ten",
        "      • deep",
        " 11. more",
    ]
    assert "ls -l" in "\n".join(shown(text)) and sum("──" in line for line in shown(text)) == 2
    assert shown("- a\n\n- b") == [" • a", "", " • b"] and shown("- a\n- b") == [" • a", " • b"]


TABLE = """| Name | Numbers | What it is about |
|---|---:|---|
| alpha | 1,234 | some words that are too long for a small screen |
| 日本 | 5 | x |"""


def test_tables() -> None:
    assert shown(TABLE, 79)[0] == "Name   Numbers  What it is about" and shown(TABLE, 79)[2].startswith("alpha    1,234  some")
    words = re.findall(r"[\w,]+", TABLE)
    for width in range(16, 80):
        found = shown(TABLE, width)
        assert all(cell_len(line) <= width for line in found), width
        squeezed = "".join(found).replace(" ", "")
        assert all(word in squeezed for word in words) if width > 40 else all(word in squeezed for word in ("alpha", "1,234", "日本"))
    assert shown(TABLE, 20)[:4] == ["Name: alpha", "Numbers: 1,234", "What it is about:", "some words that are"]


def test_colours_are_left_out_and_weights_stay_without_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "**b** `c`"
    assert shown(text, color_system="standard", force_terminal=True) == ["\x1b[1mb\x1b[0m \x1b[36mc\x1b[0m"]
    assert shown(text, color_system="standard", force_terminal=True, no_color=True) == ["\x1b[1mb\x1b[0m c"]
    bullet = shown("- **x** y", color_system="standard", force_terminal=True)
    assert bullet == ["\x1b[36m • \x1b[0m\x1b[1mx\x1b[0m y"]


def test_code_is_coloured_for_light_and_dark() -> None:
    """The palette's own colours, none of the bright ones, no background."""
    found = shown("```python\ndef f(x): return 'a'  # why\n```", color_system="truecolor", force_terminal=True)[1]
    assert "\x1b[35mdef\x1b[0m \x1b[1mf\x1b[0m(x): " in found and "\x1b[2m# why\x1b[0m" in found
    codes = {code for each in re.findall(r"\x1b\[([\d;]*)m", found) for code in each.split(";")}
    assert codes <= {"0", "1", "2", "31", "32", "35", "36"}


def test_what_separates_lines_elsewhere_does_not_move_blocks() -> None:
    text = "a\x0bb\u2028c\u2029d\n\n```\nx\n```\n\nend"
    assert text[first_block(text) :].startswith("```\nx")


def test_chinese_and_japanese_lines_are_filled() -> None:
    text = Text("Heron是一个推理引擎，它运行语言模型。「你好」、世界！")
    lines = [line.plain for line in wrapped(text, 16)]
    assert "".join(lines) == text.plain and all(cell_len(line) >= 12 for line in lines[:-1])
    assert not any(line[0] in "，。」、！" or line[-1] == "「" for line in lines)


WORDS = st.text(st.sampled_from("ab  c日本。「」\n👍🏽e\u0301👨\u200d👩\u200d👧é-"), max_size=60)


@settings(max_examples=60, deadline=None)
@given(WORDS, st.integers(8, 30))
def test_wrapping_loses_nothing_but_spaces(text: str, width: int) -> None:
    lines = wrapped(Text(text), width)
    assert "".join(line.plain for line in lines).replace(" ", "") == text.replace("\n", "").replace(" ", "")
    assert all(line.cell_len <= width for line in lines)
    assert [line.plain for line in wrapped(Text(text), 1000)] == text.split("\n")


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from([*"ab日*_`$\\[](){}<>#|-=~1.&;: ", "\n", "\n\n", "```", "> ", "- ", "    "]), max_size=40))
def test_anything_can_be_shown(parts: list[str]) -> None:
    text = "".join(parts)
    kept = [each for each in "ab日" if each in text]
    found = "".join(shown(text, 20))
    assert all(each in found for each in kept) or "```" in text  # the first word behind a fence names a language


def test_nesting_has_an_end() -> None:
    for text in (">" * 30 + "x", ">" * 3000 + "x"):
        assert "x" in "".join(shown(text, 40))
    assert shown("- " * 300 + "x", 40) and shown("[" * 3000 + "*" * 3000, 40)


def test_rows_of_wide_characters() -> None:
    """They are never cut in two, so that a row of an odd number of columns stays one short."""
    assert Line("日" * 20, "日" * 20).rows(41) == 1 and Line("", "").rows(5) == 1
    assert Line("日" * 100, "日" * 100).rows(7) == 34  # three in each, where 200 / 7 would be 29
    assert Line("a" * 21, "a" * 21).rows(7) == 3
