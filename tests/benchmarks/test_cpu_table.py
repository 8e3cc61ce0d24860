"""benchmarks/cpu.py runs, and its table says what it should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from heron import pocket

pytest.importorskip("heron._core")
ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not pocket.path().exists(), reason="the pocket model is not trained here")
@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is read as Linux shows it")
def test_heron_alone() -> None:
    line = [sys.executable, "benchmarks/cpu.py", pocket.path(), "--alone", "--only", "prefill,batched,memory"]
    sizes = ["--prompt", "64", "--generate", "4", "--sequences", "3", "--rounds", "2"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([*line, *sizes], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    rows = {cells[1]: cells for cells in (row.strip("| ").split(" | ") for row in done.stdout.splitlines() if row.startswith("| pocket"))}
    assert list(rows) == ["prefill 64, tok/s", "decode, 3 sequences, tok/s", "peak at 4096 tokens, MiB"]
    for cells in rows.values():
        assert float(cells[2].split()[0]) > 0 and float(cells[5].split()[0]) > 0 and cells[3:5] == ["-", "-"] and 0 <= float(cells[6]) <= 1
    assert 10 < float(rows["peak at 4096 tokens, MiB"][2]) < 1000
    assert re.search(r"The machine reads [0-9]+ \([0-9]+ to [0-9]+\) GB/s; .* int8", done.stdout)
