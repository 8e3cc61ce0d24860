"""A thousand clients at once: those that may wait are answered, the others are told when to come again, and nothing is left behind."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from pathlib import Path

import pytest
from http_serving import Served, serving, until

import heron
from heron.engine.engine import Engine
from heron.server.settings import Settings

CLIENTS, QUEUE, AT_ONCE = 1000, 512, 16


async def client(served: Served, number: int) -> str:
    """One request on a connection of its own; every second one is a stream. What became of it."""
    body = json.dumps({"prompt": f"Once upon a time {number}", "max_tokens": 16, "ignore_eos": True, "stream": number % 2 == 0}).encode()
    reader, writer = await asyncio.open_connection(*served.address)
    writer.write(b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Type: application/json\r\n")
    writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
    answer = await reader.read()
    writer.close()
    head, _, said = answer.partition(b"\r\n\r\n")
    if b" 429 " in head.splitlines()[0]:
        return "refused" if b"\r\nretry-after: " in head and b'"code":"queue_full"' in said else "refused without a word"
    whole = said.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") if number % 2 == 0 else b'"finish_reason":"length"' in said
    return "answered" if b" 200 " in head.splitlines()[0] and whole else answer[:200].decode()


async def all_of_them(served: Served) -> Counter[str]:
    return Counter(await asyncio.gather(*(client(served, number) for number in range(CLIENTS))))


def resident(served: Served) -> float:
    lines = served.get("/metrics").text.splitlines()
    return float(next(line for line in lines if line.startswith("process_resident_memory_bytes")).split()[1])


@pytest.mark.slow
def test_a_thousand_clients(shared: Path) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)
    with serving(Engine(model, max_seqs=AT_ONCE, max_queue=QUEUE), Settings()) as served:
        levels = []
        for _ in range(3):
            found = asyncio.run(all_of_them(served))
            assert set(found) <= {"answered", "refused"}
            assert found["answered"] >= QUEUE
            until(served.is_idle)
            until(lambda: not served.server.server_state.connections)
            levels.append(resident(served))
        assert "refused" in found
        assert levels[2] < 1.05 * levels[1]  # the first burst makes room, which the others use again
