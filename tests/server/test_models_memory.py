"""What models take of a machine's memory, together and one after the other, and what each of them says meanwhile."""

from __future__ import annotations

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import httpx
import pytest
from http_serving import PATIENCE, serving_pool, until
from tiny_vectors import encoder
from two_models import ASKED, NAMES, entries, listed, load

from heron.backends.base import Options
from heron.server.catalog import Catalog, Entry
from heron.server.pool import Pool
from heron.server.room import Room, Sizes

pytestmark = pytest.mark.usefixtures("few_objects")


def test_the_context_that_is_listed_is_the_one_that_will_be(folder: Path) -> None:
    need = Room(max_seqs=4, options=Options(threads=1)).foretell(entries(folder)[0])
    assert need is not None
    for how in ({"asked": Sizes(ctx_size=200)}, {"asked": Sizes(kv_cache_size=300)}, {"max_memory": need.smallest}):
        room = Room(max_seqs=4, options=Options(threads=1), **how)
        with serving_pool(Pool(Catalog(lambda: entries(folder)), load, room)) as served:
            before = listed(served)["pocket"]
            assert served.post("/models/load", json={"model": "pocket"}).status_code == 200
            after = listed(served)["pocket"]
            assert before["context_length"] == after["context_length"] == before["max_model_len"] == before["meta"]["n_ctx"] < 1024
            assert before["meta"]["n_ctx_train"] == after["meta"]["n_ctx_train"] == 1024


def test_memory_bounds_what_is_here(folder: Path) -> None:
    """By what is foretold: each of the two takes more than half of what is allowed."""
    options = Options(threads=1)
    need = Room(max_memory=1 << 40, max_seqs=4, options=options).foretell(entries(folder)[0])
    assert need is not None
    room = Room(max_memory=need.least * 3 // 2, max_seqs=4, options=options)
    with serving_pool(Pool(Catalog(lambda: entries(folder)), load, room)) as served:
        for name in ("pocket", "turned", "pocket"):
            assert served.post("/v1/completions", json=ASKED | {"model": name}).json()["model"] == name
            [resident] = served.state.pool.residents.values()
            assert resident.bytes <= room.max_memory
    tight = Room(max_memory=(need.smallest + need.least) // 2, max_seqs=4, options=options)
    with serving_pool(Pool(Catalog(lambda: entries(folder)), load, tight)) as served:
        assert served.post("/v1/completions", json=ASKED | {"model": "pocket"}).status_code == 200  # with a shorter context
        assert served.engine.model.executable.memory()["state"] < need.bytes(4096, 1024) - need.bytes(0, 1024)


def test_a_model_that_has_no_room_sends_nobody_away(folder: Path, tmp_path: Path) -> None:
    """It is refused before others are unloaded for it."""
    options, small = Options(threads=1), encoder(tmp_path / "small.gguf")
    there = [Entry(("small",), small), *entries(folder)]
    need = Room(max_seqs=4, options=options).foretell(there[1])
    assert need is not None
    room = Room(max_memory=need.smallest - 1, max_seqs=4, options=options)
    with serving_pool(Pool(Catalog(lambda: there), load, room)) as served:
        assert served.post("/v1/embeddings", json={"model": "small", "input": "a"}).status_code == 200
        refused = served.post("/v1/completions", json=ASKED | {"model": "pocket"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "out_of_memory")
        assert "--max-memory" in refused.json()["error"]["message"]
        assert [entry.name for entry in served.state.pool.residents] == ["small"]


def own_bytes(process: int) -> int:
    """What a process holds that is nobody else's."""
    status = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in status if line.startswith("RssAnon:")).split()[1]) * 1024


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="this system does not say")
def test_memory_comes_back(folder: Path) -> None:
    """In a process of its own, whose memory nothing else has been in."""
    models = [str(folder / f"{name}.gguf") for name in NAMES]
    command = [sys.executable, "-m", "heron", "serve", *models, "--max-models", "1", "--port", "0", "--threads", "1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        try:
            assert server.stdout is not None
            url = next(line.split()[1] for line in server.stdout if line.split()[:1] == ["address"])
            held = []
            for _ in range(10):
                for name in NAMES:
                    body = ASKED | {"model": name, "max_tokens": 2}
                    assert httpx.post(url + "/v1/completions", json=body, timeout=PATIENCE).status_code == 200
                held.append(own_bytes(server.pid))
        finally:
            server.kill()
    assert max(held[5:]) - held[4] < 8 << 20, held


#: What clients do, with how often; some go away before they have what they asked for.
DONE = {"text": 6, "stream": 6, "leave": 4, "load": 2, "unload": 2, "vector": 2, "tokens": 1, "broken": 1, "absent": 1, "list": 1}


def test_a_crowd_that_does_all_of_it(folder: Path, alone: dict[str, str]) -> None:
    """Twelve clients, two models, room for one: who gets an answer gets the right one, and nothing is left of who went away."""
    done: Counter[str] = Counter()

    async def do(client: httpx.AsyncClient, what: str, model: str, patience: float) -> None:
        asked = ASKED | {"model": model}
        match what:
            case "text":
                answer = await client.post("/v1/completions", json=asked)
                assert answer.json()["choices"][0]["text"] == alone[model]
            case "stream" | "leave":
                said = ""
                async with client.stream("POST", "/v1/completions", json=asked | {"stream": True}, timeout=patience) as stream:
                    async for line in stream.aiter_lines():
                        said += json.loads(line[6:])["choices"][0]["text"] if line.startswith("data: {") else ""
                assert said == alone[model]
            case "load" | "unload":
                assert (await client.post(f"/models/{what}", json={"model": model})).status_code == 200
            case "vector":
                assert (await client.post("/v1/embeddings", json={"model": model, "input": "a"})).json()["model"] == model
            case "tokens":
                assert (await client.post("/tokenize", json={"model": model, "content": "a"})).status_code == 200
            case "broken" | "absent":
                refused = await client.post("/v1/completions", json=asked | {"model": what})
                assert refused.status_code == (503 if what == "broken" else 404)
            case "list":
                listed = (await client.get("/v1/models")).json()["data"]
                assert [each["id"] for each in listed] == list(NAMES)
        done[what] += 1

    async def crowd(url: str) -> None:
        async def one(seed: int) -> None:
            rng = random.Random(seed)
            for what in rng.choices(list(DONE), list(DONE.values()), k=12):
                patience = rng.choice([0.001, 0.01, 0.03]) if what == "leave" else PATIENCE * 4
                try:
                    await do(client, what, rng.choice(NAMES), patience)
                except httpx.TimeoutException:
                    assert what == "leave"
                    done["left"] += 1

        async with httpx.AsyncClient(base_url=url, timeout=PATIENCE * 4) as client:
            await asyncio.gather(*map(one, range(12)))

    with serving_pool(Pool(Catalog(lambda: entries(folder)), load, Room(max_models=1))) as served:
        asyncio.run(crowd(served.url))
        pool = served.state.pool
        until(lambda: not served.state.active and not pool.is_moving)
        here = list(pool.residents.values())
        until(lambda: not any(resident.engine.snapshot().running for resident in here))
        assert not pool.waiting and all(resident.leases == 0 for resident in here)
        assert sum(pool.counts.loads.values()) - sum(pool.counts.unloads.values()) == len(here) <= 1
        assert set(pool.counts.failed) == {"broken"}
    assert done.total() == 144 and done["left"] > 0
