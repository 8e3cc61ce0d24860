"""Mapped files, and what of them counts as memory in use."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from heron.checkpoint.mapping import let_go, map_file


def resident(path: Path) -> int:
    """Bytes of the file that this process has mapped and touched."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.endswith(str(path)))
    return next(int(line.split()[1]) * 1024 for line in lines[at:] if line.startswith("Rss:"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_let_go_takes_no_memory_and_can_be_read_again(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 4096)
    data = map_file(path)
    expected = int(data.sum())
    assert resident(path) == len(data)
    let_go(data, len(data) // 2 + 1)
    assert resident(path) == len(data) // 2
    let_go(data, 100)  # less than a page
    assert int(data.sum()) == expected


def test_an_array_that_is_no_file_is_left_alone() -> None:
    data = np.ones(1 << 16, np.uint8)
    let_go(data, len(data))
    assert data.all()
