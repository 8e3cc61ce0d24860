"""benchmarks/serve.py puts a load on servers and on the engine, and what it says of them adds up."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from http_serving import serving

import heron
from heron.engine.engine import Engine

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
from load import Asked, Load, Reply, Round, summary  # noqa: E402
from targets import Http  # noqa: E402

pytest.importorskip("heron._core")


def run(*options: object) -> dict[str, Any]:
    line = [sys.executable, "benchmarks/serve.py", *map(str, options), "--rounds", "1", "--threads", "1", "--json", "-"]
    done = subprocess.run(line, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "output tok/s" in done.stderr  # the table
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_http_and_the_engine_get_the_same_load(shared: Path, tmp_path: Path) -> None:
    model, plot = shared / "data/stories/stories260K-f32.gguf", tmp_path / "load.svg"
    sizes = ["--clients", "1,3", "--requests", "6", "--prefix", "48", "--prompt", "20", "--output", "8"]
    rows = run("--engine", model, *sizes, "--plot", plot)["rows"]
    assert [(row["load"], row["target"]) for row in rows] == [
        (load, who) for load in ("1 client", "3 clients") for who in ("HTTP", "engine")
    ]
    for row in rows:
        assert (row["requests"], row["output_tokens"], row["prompt_tokens"], row["errors"]) == (6, 48, 6 * 68, {})
        assert 4 * 48 <= row["cached_tokens"] <= 5 * 48  # of all but the first; two may part before it is computed whole
        for times in ("first_token_ms", "between_tokens_ms"):
            assert 0 < row[times]["p50"] <= row[times]["p90"] <= row[times]["p99"]
    for row, beside in zip(rows[::2], rows[1::2], strict=True):
        assert row["ratio"] == [row["tokens_per_second"][0] / beside["tokens_per_second"][0]]
    assert {element.text for element in ElementTree.parse(plot).iter()} >= {"1 client", "3 clients", "HTTP", "engine"}


def test_arrivals_refusals_and_breaks(shared: Path) -> None:
    """Random arrivals of conversations at a server that has room for few; then one that is not there."""
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    with serving(Engine(model, max_seqs=1, max_queue=1)) as served:
        [row] = run(served.url + "/v1", "--rate", "10000", "--requests", "12", "--chat", "--output", "64")["rows"]
        assert row["errors"].keys() == {"429"} and row["output_tokens"] == 64 * (12 - row["errors"]["429"]) > 0
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        asyncio.run(Http("127.0.0.1:{1}".format(*nobody.getsockname())).ask([300], 1, reply := Reply()))
    assert reply.status == 0 and not reply.ok


def test_loads() -> None:
    load = Load(clients=2, requests=3, prompt=5, prefix=4)
    one, two, three = load.prompts(1)
    assert len(one) == 9 and one[:4] == two[:4] == three[:4] and one[4:] != two[4:]
    assert list(load.prompts(1)) == [one, two, three] and next(load.prompts(2)) != one
    assert next(Load(clients=3, prompt=5, prefix=4).prompts(1)) != one  # another load is computed anew
    [message] = next(Load(chat=True, prompt=5).prompts(1))
    assert isinstance(message, dict) and len(message["content"].split()) == 5


class Clock(Asked):
    """Notes how many are asked at the same time."""

    name = "clock"

    def __init__(self) -> None:
        self.now, self.seen = 0, []  # type: tuple[int, list[int]]

    async def ask(self, prompt: Any, output: int, reply: Reply) -> None:
        self.now += 1
        self.seen.append(self.now)
        for _ in range(output):
            await asyncio.sleep(0.02)
            reply.text()
        self.now -= 1
        reply.status, reply.tokens = 200, output


def test_who_asks_when() -> None:
    clock = Clock()
    clock.run(Load(clients=3, requests=9, output=1), 0, lambda: None)
    assert max(clock.seen) == 3 and len(clock.seen) == 9
    clock = Clock()
    found = clock.run(Load(clients=3, requests=4, output=2, first_alone=True), 0, lambda: None)
    first, *others = found.replies
    assert all(reply.begin >= first.times[0] for reply in others) and others[0].begin < first.end


def test_summary() -> None:
    replies = [
        Reply(0.0, [1.0, 1.1, 1.4], 200, 3, 10, 0, 1.4),
        Reply(0.0, [2.0], 200, 1, 10, 5, 2.0),
        Reply(0.0, [], 429),
        Reply(0.0, [], 0),
    ]
    found = summary([Round(2.0, replies)])
    assert found["tokens_per_second"] == [2.0] and found["errors"] == {"429": 1, "0": 1}
    assert found["first_token_ms"]["p50"] == pytest.approx(1500) and found["later_first_token_ms"]["p99"] == pytest.approx(2000)
    assert found["between_tokens_ms"]["p50"] == pytest.approx(200) and found["very_first_token_ms"] == [1000]
    assert (found["output_tokens"], found["prompt_tokens"], found["cached_tokens"]) == (4, 20, 5)
