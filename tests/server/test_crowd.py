"""A thousand clients at the same moment: whoever finds no place is told so, all others are answered, and nothing is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import PATIENCE, until

from heron.backends import native
from heron.server.listening import allow_many

resource = pytest.importorskip("resource")
pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled core")

ROOT = Path(__file__).resolve().parents[2]
PARALLEL, QUEUE = 16, 512

#: Files that the server may open until it asks for more: a shell's default.
FILES = 1024


@dataclass
class Came:
    """What a client read until the server closed its connection."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """Of an answer, whole or as events."""
        if self.headers["content-type"].startswith("application/json"):
            return str(json.loads(self.body)["choices"][0]["text"])
        events = re.findall(rb"^data: (.*)$", self.body, re.MULTILINE)
        assert events.pop() == b"[DONE]"
        return "".join(json.loads(event)["choices"][0]["text"] for event in events)


@dataclass
class Crowd:
    url: str
    came: list[Came] = field(default_factory=list)
    broken: list[BaseException] = field(default_factory=list)
    most_waiting: int = 0

    def gather(self, count: int, **asked: Any) -> Crowd:
        """All are connected before the first of them asks."""
        asyncio.run(self._gather(count, asked))
        return self

    async def _gather(self, count: int, asked: dict[str, Any]) -> None:
        connections = await asyncio.gather(*(self._connect() for _ in range(count)))
        watching = asyncio.ensure_future(self._watch())
        found = await asyncio.gather(*(_ask(*pair, asked, at) for at, pair in enumerate(connections)), return_exceptions=True)
        watching.cancel()
        self.came = [one for one in found if isinstance(one, Came)]
        self.broken = [one for one in found if not isinstance(one, Came)]

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        host, port = self.url.removeprefix("http://").split(":")
        return await asyncio.open_connection(host, int(port))

    async def _watch(self) -> None:
        """/health and /metrics answer all the while."""
        async with httpx.AsyncClient(base_url=self.url, timeout=PATIENCE) as client:
            while True:
                assert (await client.get("/health")).status_code == 200
                self.most_waiting = max(self.most_waiting, int(_read((await client.get("/metrics")).text)["heron_requests_waiting"]))
                await asyncio.sleep(0.1)

    @property
    def counts(self) -> Counter[int]:
        return Counter(one.status for one in self.came)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: dict[str, Any], at: int) -> Came:
    """Half of them want a stream."""
    body = json.dumps(asked | {"stream": at % 2 == 0}).encode()
    head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    writer.write(head.encode() + b"\r\n\r\n" + body)
    answer = await reader.read()
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return Came(int(status.split()[1]), headers, _unchunked(body) if headers.get("transfer-encoding") == "chunked" else body)


def _unchunked(body: bytes) -> bytes:
    parts = []
    while body:
        size, _, body = body.partition(b"\r\n")
        parts.append(body[: int(size, 16)])
        assert body[int(size, 16) :][:2] == b"\r\n"  # else it was cut
        body = body[int(size, 16) + 2 :]
    assert parts.pop() == b""
    return b"".join(parts)


def _read(text: str) -> dict[str, float]:
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))}


def metrics(url: str) -> dict[str, float]:
    return _read(httpx.get(f"{url}/metrics", timeout=PATIENCE).text)


@contextlib.contextmanager
def served(model: Path, log: Path) -> Iterator[str]:
    sizes = ["--port", "0", "--parallel", PARALLEL, "--max-queue", QUEUE, "--request-timeout", "0", "--threads", "1", "--log-level", "info"]

    def few_files() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))

    command = [sys.executable, "-m", "heron", "serve", str(model), *map(str, sizes)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with (
        log.open("w") as stderr,
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr, env=environment, preexec_fn=few_files) as process,
    ):
        try:
            until(lambda: "ready" in log.read_text() or process.poll() is not None)
            yield re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())[0]
        finally:
            process.terminate()
        assert process.wait(PATIENCE) == 0


def at_rest(url: str) -> dict[str, float]:
    """Its metrics, once nobody is served any more."""
    found: dict[str, float] = {}

    def resting() -> bool:
        found.update(metrics(url))
        return not (found["heron_requests_running"] or found["heron_requests_waiting"] or found["heron_http_requests_in_progress"])

    until(resting)
    assert found['heron_kv_cache_units{group="full",state="used"}'] == 0
    slots = httpx.get(f"{url}/slots").json()
    assert len(slots) == PARALLEL and not any(slot["is_processing"] for slot in slots)
    return found


def ended(found: dict[str, float]) -> Counter[str]:
    return Counter({name: int(value) for name, value in found.items() if name.startswith("heron_requests_ended_total")})


def crowd(url: str, asked: dict[str, Any], alone: str) -> tuple[dict[str, float], int]:
    """The metrics after a thousand, and how many were answered."""
    found = Crowd(url).gather(1000, **asked)
    assert found.broken == []
    assert found.counts.keys() == {200, 429} and found.counts[200] >= QUEUE and sum(found.counts.values()) == 1000
    assert QUEUE - PARALLEL <= found.most_waiting <= QUEUE
    for one in found.came:
        if one.status == 200:
            assert one.text == alone
        else:
            assert int(one.headers["retry-after"]) >= 1 and json.loads(one.body)["error"]["code"] == "queue_full"
    return at_rest(url), found.counts[200]


def test_a_thousand_at_once(shared: Path, tmp_path: Path) -> None:
    allow_many()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 3000:
        pytest.skip("a thousand connections are not allowed here")
    asked = {"prompt": "Once upon a time", "max_tokens": 24, "ignore_eos": True, "temperature": 0}
    with served(shared / "data/stories/stories260K-f32.gguf", tmp_path / "log") as url:
        alone = httpx.post(f"{url}/v1/completions", json=asked, timeout=PATIENCE).json()["choices"][0]["text"]
        Crowd(url).gather(50, **asked)  # memory that stays: code that is loaded, buffers of the usual sizes
        before = at_rest(url)
        first, some = crowd(url, asked, alone)
        second, others = crowd(url, asked, alone)
    assert ended(second) - ended(before) == {'heron_requests_ended_total{reason="length"}': some + others}
    memory = [found["process_resident_memory_bytes"] / 2**20 for found in (before, first, second)]
    assert memory[1] < memory[0] + 96 and memory[2] < memory[1] + 8, memory  # what a crowd needed is used again by the next
    assert before["process_open_fds"] == first["process_open_fds"] == second["process_open_fds"]
    assert "Traceback" not in (tmp_path / "log").read_text()
