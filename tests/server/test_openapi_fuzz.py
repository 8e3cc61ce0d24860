"""schemathesis over the OpenAPI document: no 5xx, no status and no type of content that is not documented."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from http_serving import until
from stories import CHAT, Stories, serving_stories


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


@pytest.mark.slow
@pytest.mark.skipif(find_spec("schemathesis") is None, reason="no schemathesis")
def test_nothing_undocumented_comes_back(stories: Stories) -> None:
    """Thousands of requests, right ones and wrong ones; then the server is as it was."""
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    command = [str(Path(sys.executable).parent / "schemathesis"), "run", f"{stories.served.url}/openapi.json", "--checks", checks]
    chosen = ["--exclude-path-regex", "^/test/", "--phases", "examples,coverage,fuzzing", "-n", "40", "--request-timeout", "30"]
    done = subprocess.run([*command, *chosen], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-6000:]
    until(stories.served.is_idle)
    expected = stories.generate(CHAT, temperature=0, max_tokens=20).text
    answer = stories.post("/v1/chat/completions", messages=CHAT, temperature=0, max_tokens=20)
    assert answer["choices"][0]["message"]["content"] == expected
