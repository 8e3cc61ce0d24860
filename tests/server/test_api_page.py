"""docs/api.md: every example is run as it stands, against the model that ships with Heron."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from http_serving import Served

PAGE = (Path(__file__).resolve().parents[2] / "docs/api.md").read_text()
EXAMPLES = [
    "curl " + one.strip()
    for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    for one in re.split(r"^curl ", block, flags=re.M)
    if one
]


def test_every_path_has_an_example() -> None:
    paths = set(re.findall(r"`(?:POST |GET )?(/[\w/-]+)`", PAGE)) - {"/docs", "/completions"}
    assert len(paths) >= 12
    assert all(any(f"11435{path}" in example for example in EXAMPLES) for path in paths)


@pytest.mark.skipif(shutil.which("curl") is None, reason="no curl")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split()[1].rsplit("11435")[-1][:30])
def test_an_example(served: Served, example: str) -> None:
    command = example.replace("http://127.0.0.1:11435", served.url).replace("curl ", "curl -sS ", 1)
    said = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True, timeout=20).stdout
    if "-i " in command:
        assert "x-heron-warning: ignored: frobnicate" in said
        said = said.split("\n\n", 1)[1]
    if '"stream": true' in command:
        *events, done, _ = said.split("\n\n")
        assert done == "data: [DONE]" and json.loads(events[-1].removeprefix("data: "))["usage"]["completion_tokens"] > 0
        return
    answer = json.loads(said)
    assert ("no_infill" in said) if "/infill" in command else ("error" not in answer)
