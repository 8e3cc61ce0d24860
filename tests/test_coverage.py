"""The table in docs/models.md, which the tests write: a row for each family, and no check that was forgotten."""

from __future__ import annotations

from coverage_table import COLUMNS, PAGE, read_table, with_table

from heron.models.registry import FAMILIES, load_families


def test_every_check_is_made_of_every_family() -> None:
    load_families()
    cells = read_table(PAGE.read_text(encoding="utf-8"))
    assert cells.keys() == {(name, column) for name in FAMILIES for column in COLUMNS}
    assert all(cells.values()), [cell for cell, holds in cells.items() if not holds]


def test_what_is_written_is_read_again() -> None:
    page = PAGE.read_text(encoding="utf-8")
    cells = read_table(page)
    assert with_table(page, cells) == page
    changed = cells | {("bert", "command, native"): False, ("t5", "GGUF, reference"): False}
    assert read_table(with_table(page, changed)) == changed
