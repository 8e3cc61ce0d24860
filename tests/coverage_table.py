"""Which checks hold for which family on which backend: a table that the tests write into docs/models.md.

A test marked ``covers(check, backend)`` counts for the architecture of the tiny model that its fixture ``made`` gives.
``python -m pytest --write-coverage`` rewrites the cells of the checks that ran, and leaves the others as they are
(slow ones run apart: add ``-m slow``). A cell is ticked where every test of its kind passed.
"""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import FAMILIES, load_families

Cell = tuple[str, str]  # architecture, column

PAGE = Path(__file__).resolve().parents[1] / "docs" / "models.md"
BEGIN, END = "<!-- written by the tests: python -m pytest --write-coverage -->\n", "<!-- end of what the tests write -->\n"
COLUMNS = (
    *(f"{check}, reference" for check in ("logits", "keys", "GGUF", "ranks", "adapters", "taps")),
    "logits, native",
    "logits, torch",
    "logits, llama.cpp",
    "command, native",
)
HOLDS = "yes"

_results = pytest.StashKey[dict[Cell, bool]]()


def read_table(page: str) -> dict[Cell, bool]:
    """The cells of the table in the page: whether each holds."""
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in page.partition(BEGIN)[2].partition(END)[0].splitlines()]
    return {(row[0], column): mark == HOLDS for row in rows[2:] for column, mark in zip(rows[0][1:], row[1:], strict=True)}


def with_table(page: str, cells: dict[Cell, bool]) -> str:
    """The page with these cells, a row for each family there is."""
    lines = [["architecture", *COLUMNS], ["---"] * (len(COLUMNS) + 1)]
    lines += [[name, *(HOLDS if cells.get((name, column)) else "" for column in COLUMNS)] for name in sorted(FAMILIES)]
    table = "".join(f"| {' | '.join(line)} |\n" for line in lines)
    before, _, rest = page.partition(BEGIN)
    return before + BEGIN + table + END + rest.partition(END)[2]


# Hooks, which conftest.py hands to pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--write-coverage", action="store_true", help="write what was checked of each family into docs/models.md")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "covers(check, backend): a check of a family, for the table in docs/models.md")
    config.stash[_results] = {}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Function, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
    report = yield
    marker = item.get_closest_marker("covers")
    if report.when == "call" and not report.skipped and marker:
        cell = Checkpoint(item.funcargs["made"].folder).architecture, ", ".join(marker.args)
        assert cell[1] in COLUMNS, cell
        results = item.config.stash[_results]
        results[cell] = results.get(cell, True) and report.passed
    return report


def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.getoption("--write-coverage"):
        load_families()
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(with_table(page, read_table(page) | session.config.stash[_results]), encoding="utf-8")
