"""The table in docs/formats.md is what the code does. ``HERON_FORMATS=write python -m pytest`` on this file writes it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from random_blocks import random_rows

from heron.errors import UnsupportedError
from heron.quant.formats import FORMATS, Format
from heron.quant.quantize import quantize

_core = pytest.importorskip("heron._core")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "formats.md"
HEAD = ("id", "format", "elements", "bytes", "bits each", "written", "native products")
BEGIN = f"| {' | '.join(HEAD)} |\n"


def written(fmt: Format) -> str:
    try:
        quantize(fmt, np.zeros(fmt.block, np.float32))
    except UnsupportedError:
        return ""
    return "yes"


def products(fmt: Format) -> str:
    if _core.layout_name(fmt.id, _core.instruction_sets()[-1]) is None:
        return "as F32"
    k, rng = max(fmt.block, 64), np.random.default_rng(0)
    matrix = _core.Packed(fmt.id, "portable", 40, k)
    matrix.pack(0, random_rows(fmt, 40, k, rng))
    x = rng.standard_normal((8, k)).astype(np.float32)
    rounds = not np.array_equal(matrix.linear(x, "int8"), matrix.linear(x, "f32"))  # activations
    return "int8" if rounds else "f32" if fmt.plain else "unpacked"


def row(fmt: Format) -> str:
    bits = f"{8 * fmt.bytes / fmt.block:g}"
    id = str(fmt.id) if fmt.in_gguf else "-"
    return f"| {' | '.join((id, fmt.name, str(fmt.block), str(fmt.bytes), bits, written(fmt), products(fmt)))} |\n"


def place(fmt: Format) -> tuple[bool, int]:
    """GGUF's in the order of their ids, then Heron's own."""
    return not fmt.in_gguf, abs(fmt.id)


def test_the_table_is_what_the_code_does() -> None:
    table = BEGIN + "|" + "---|" * len(HEAD) + "\n" + "".join(row(fmt) for fmt in sorted(FORMATS.values(), key=place))
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    after = rest[rest.index("\n\n") + 1 :]
    if os.environ.get("HERON_FORMATS") == "write":
        PAGE.write_text(before + table + after, encoding="utf-8")
    assert before + table + after == PAGE.read_text(encoding="utf-8")
