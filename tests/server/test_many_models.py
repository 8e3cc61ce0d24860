"""Several models behind one server, with memory for one: what each says is what it says alone."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from http_serving import PATIENCE, Served, serving_pool, until
from two_models import ASKED, NAMES, entries, listed, load

from heron import pocket
from heron.engine.engine import Engine
from heron.server.catalog import Catalog, Entry
from heron.server.pool import Pool
from heron.server.room import Room, Sizes
from heron.server.settings import Settings

pytestmark = pytest.mark.usefixtures("few_objects")


@pytest.fixture
def many(folder: Path) -> Iterator[Served]:
    with serving_pool(Pool(Catalog(lambda: entries(folder)), load, Room(max_models=1))) as served:
        yield served


def test_eight_streams_of_two_models_with_memory_for_one(many: Served, alone: dict[str, str]) -> None:
    async def ask(client: openai.AsyncOpenAI, name: str) -> tuple[str, str, set[str]]:
        stream = await client.completions.create(model=name, stream=True, extra_body={"ignore_eos": True}, **{k: ASKED[k] for k in OPENAIS})
        said, called = "", set()
        async for chunk in stream:
            said += chunk.choices[0].text
            called.add(chunk.model)
        return name, said, called

    async def all_of_them() -> list[tuple[str, str, set[str]]]:
        async with openai.AsyncOpenAI(base_url=f"{many.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE * 4) as client:
            found = []
            for _ in range(2):
                found += await asyncio.gather(*(ask(client, NAMES[at % 2]) for at in range(8)))
            return found

    for name, said, called in asyncio.run(all_of_them()):
        assert (said, called) == (alone[name], {name})
    counts = many.state.pool.counts
    assert counts.loads["pocket"] + counts.loads["turned"] - sum(counts.unloads.values()) == 1
    assert sum(counts.unloads.values()) >= 1 and not counts.failed


OPENAIS = ("prompt", "temperature", "max_tokens")


def test_a_swap_waits_for_a_stream_that_runs(many: Served, alone: dict[str, str]) -> None:
    """The second model comes when the first one's stream has ended, whole."""
    order: list[str] = []
    with httpx.stream("POST", f"{many.url}/v1/completions", json=ASKED | {"model": "pocket", "stream": True}, timeout=PATIENCE) as stream:
        lines = (line[6:] for line in stream.iter_lines() if line.startswith("data: {"))
        said = [json.loads(next(lines))["choices"][0]["text"]]

        def other() -> None:
            order.append(many.post("/v1/completions", json=ASKED | {"model": "turned"}).json()["choices"][0]["text"])

        asking = threading.Thread(target=other)
        asking.start()
        until(lambda: bool(many.state.pool.waiting) or not asking.is_alive())
        for line in lines:
            said.append(json.loads(line)["choices"][0]["text"])
    asking.join(PATIENCE)
    assert "".join(said) == alone["pocket"] and order == [alone["turned"]]


def test_what_is_listed(many: Served, folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "heron.server"):
        assert many.get("/health").json() == {"status": "ok"}
        found = listed(many)
        assert list(found) == ["pocket", "turned"]  # and not the damaged one
        listed(many)
    assert [record.message.split(":")[0] for record in caplog.records] == ["the model broken cannot be served"]  # once
    assert {each["status"] for each in found.values()} == {"unloaded"}
    for each in found.values():
        assert each["capabilities"] == ["chat", "completion", "embeddings"]
        assert each["context_length"] == each["max_model_len"] == each["meta"]["n_ctx_train"] == 1024
        assert each["bytes"] == (folder / f"{each['id']}.gguf").stat().st_size
    assert many.post("/models/load", json={"model": "turned"}).json() == {"id": "turned", "status": "loaded"}
    assert [each["status"] for each in listed(many).values()] == ["unloaded", "loaded"]
    assert many.get("/v1/models/turned").json() == listed(many)["turned"]
    assert many.get("/props").json()["model_alias"] == "turned"
    refused = many.get("/slots", params={"model": "pocket"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (503, "not_loaded")
    assert len(many.get("/slots", params={"model": "turned"}).json()) == 4
    assert many.post("/models/unload", json={"model": "turned"}).json() == {"id": "turned", "status": "unloaded"}
    for path in ("/models/load", "/models/unload", "/v1/completions", "/tokenize"):
        refused = many.post(path, json={"model": "none", "prompt": "a", "content": "a"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")


def test_which_model_is_meant(many: Served, alone: dict[str, str]) -> None:
    first = many.post("/v1/completions", json=ASKED).json()
    assert (first["model"], first["choices"][0]["text"]) == ("pocket", alone["pocket"])  # the first of them
    for path, body, said in (
        ("/v1/completions", ASKED, lambda answer: answer["choices"][0]["text"]),
        ("/completion", ASKED, lambda answer: answer["content"]),
    ):
        for name in NAMES:
            assert said(many.post(path, json=body | {"model": name}).json()) == alone[name]
    assert many.post("/completion", json=ASKED).json()["content"] == alone["turned"]  # the one that was used last
    assert many.post("/tokenize", json={"model": "pocket", "content": "a"}).json()["tokens"]
    assert many.post("/v1/embeddings", json={"model": "turned", "input": "a"}).json()["model"] == "turned"
    messages = [{"role": "user", "content": "Hello"}]
    answer = many.post("/v1/chat/completions", json={"model": "pocket", "messages": messages, "max_tokens": 3}).json()
    assert answer["model"] == "pocket"


def test_a_model_that_comes_later_is_found(many: Served, folder: Path) -> None:
    assert many.post("/v1/completions", json=ASKED | {"model": "late"}).status_code == 404
    (folder / "late.gguf").symlink_to(pocket.path())
    try:
        assert many.post("/v1/completions", json=ASKED | {"model": "late"}).json()["model"] == "late"
        assert "late" in listed(many)
    finally:
        (folder / "late.gguf").unlink()
    assert "late" not in listed(many)


def test_a_model_that_is_pulled_anew_or_deleted(folder: Path, alone: dict[str, str]) -> None:
    """The next request gets the new one, though nobody looked at the list; of the old one nothing stays."""
    there = {"m": folder / "pocket.gguf"}
    with serving_pool(Pool(Catalog(lambda: [Entry((name,), path) for name, path in there.items()]), load)) as served:
        pool = served.state.pool

        def said() -> str:
            return str(served.post("/v1/completions", json=ASKED | {"model": "m"}).json()["choices"][0]["text"])

        assert said() == alone["pocket"]
        there["m"] = folder / "turned.gguf"
        assert said() == alone["pocket"]  # it is loaded
        listed(served)
        assert said() == alone["turned"]
        until(lambda: [entry.path.name for entry in pool.residents] == ["turned.gguf"])
        assert served.post("/models/unload", json={"model": "m"}).status_code == 200
        there["m"] = folder / "pocket.gguf"
        assert said() == alone["pocket"]
        assert served.post("/models/unload", json={"model": "m"}).status_code == 200
        del there["m"]
        refused = served.post("/v1/completions", json=ASKED | {"model": "m"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "model_not_found")
        assert pool.counts.unloads == {("m", "gone"): 1, ("m", "asked"): 2}


def test_one_that_is_damaged_is_no_concern_of_others(many: Served, folder: Path, alone: dict[str, str]) -> None:
    for _ in range(2):
        refused = many.post("/v1/completions", json=ASKED | {"model": "broken"})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (503, "load_failed")
        assert "broken" in error["message"] and str(folder) not in error["message"]
        with openai.OpenAI(base_url=f"{many.url}/v1", api_key="none", max_retries=2) as client, pytest.raises(openai.InternalServerError):
            client.completions.create(model="broken", prompt="a")
        assert many.post("/v1/completions", json=ASKED | {"model": "pocket"}).json()["choices"][0]["text"] == alone["pocket"]
    assert many.state.pool.counts.failed == {"broken": 4}  # clients do not try again by themselves


def test_a_client_that_leaves_the_line(many: Served) -> None:
    pool = many.state.pool
    held = many.post("/v1/completions", json=ASKED | {"model": "pocket"})
    assert held.status_code == 200
    resident = next(iter(pool.residents.values()))
    resident.leases += 1  # somebody who takes long
    with many.connect() as gone:
        body = json.dumps(ASKED | {"model": "turned", "stream": True}).encode()
        head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        gone.sendall(head % len(body) + body)
        until(lambda: len(pool.waiting) == 1)
    until(lambda: not pool.waiting)
    assert many.post("/v1/completions", json=ASKED | {"model": "pocket"}).status_code == 200  # is not held up
    resident.leases -= 1
    assert pool.counts.loads == {"pocket": 1} and not pool.counts.unloads


def test_a_stream_that_was_promised_says_that_somebody_is_there(folder: Path, alone: dict[str, str]) -> None:
    gate = threading.Event()

    def slowly(entry: Entry, sizes: Sizes) -> Engine:
        assert gate.wait(PATIENCE)
        return load(entry, sizes)

    pool = Pool(Catalog(lambda: entries(folder)), slowly, Room(max_models=1))
    with serving_pool(pool, Settings(ping_interval=0.05)) as served:
        for model, path in (("turned", "/v1/completions"), ("broken", "/v1/completions"), ("pocket", "/completion")):
            gate.clear()
            with httpx.stream("POST", served.url + path, json=ASKED | {"model": model, "stream": True}, timeout=PATIENCE) as stream:
                assert stream.status_code == 200 and stream.headers["content-type"].startswith("text/event-stream")
                lines = stream.iter_lines()
                assert next(lines) == ": ping"
                gate.set()
                events = [line[6:] for line in lines if line.startswith("data: ")]
            if path == "/v1/completions":
                assert events.pop() == "[DONE]"
            if model == "broken":
                assert json.loads(events[-1])["error"]["code"] == "load_failed"
            else:
                said = [json.loads(event) for event in events]
                assert "".join(each["content"] if "content" in each else each["choices"][0]["text"] for each in said) == alone[model]


def test_waiting_has_an_end(folder: Path) -> None:
    gate = threading.Event()

    def never(entry: Entry, sizes: Sizes) -> Engine:
        assert gate.wait(PATIENCE)
        return load(entry, sizes)

    with serving_pool(Pool(Catalog(lambda: entries(folder)), never), Settings(request_timeout=0.2)) as served:
        late = served.post("/v1/completions", json=ASKED)
        gate.set()
        assert (late.status_code, late.json()["error"]["code"]) == (504, "timeout")
        until(lambda: bool(served.state.pool.residents))  # for the next one


def test_how_long_a_model_stays(folder: Path) -> None:
    now = [0.0]
    with serving_pool(Pool(Catalog(lambda: entries(folder)), load, keep_alive=300, clock=lambda: now[0])) as served:
        pool = served.state.pool

        def ask(**more: Any) -> None:
            assert served.post("/v1/completions", json=ASKED | {"max_tokens": 1} | more).status_code == 200

        def here() -> set[str]:
            return {entry.name for entry in pool.residents}

        ask(model="pocket")
        ask(model="turned", keep_alive="2m")
        now[0] = 119.9
        pool_ticks(served)
        assert here() == set(NAMES)
        now[0] = 120.0
        until(lambda: here() == {"pocket"})
        ask(model="pocket", keep_alive=-1)
        now[0] = 1e9
        pool_ticks(served)
        assert here() == {"pocket"}
        ask(model="pocket", keep_alive=0)
        until(lambda: not here())
        refused = served.post("/v1/completions", json=ASKED | {"keep_alive": "soon"})
        assert refused.status_code == 400 and refused.json()["error"]["param"] == "keep_alive"


def pool_ticks(served: Served) -> None:
    """Let it look at its clock, and do what it finds."""
    seen: list[int] = []
    tick: Callable[[], None] = served.state.pool.tick
    served.state.pool.tick = lambda: (seen.append(1), tick())[1]  # type: ignore[method-assign]
    until(lambda: len(seen) > 1 and not served.state.pool.is_moving)
    served.state.pool.tick = tick  # type: ignore[method-assign]


def test_metrics_of_models(many: Served) -> None:
    for name in ("pocket", "turned", "pocket", "broken"):
        many.post("/v1/completions", json=ASKED | {"model": name})
    told = many.get("/metrics").text
    for line in (
        'heron_model_loads_total{model="pocket"} 2.0',
        'heron_model_loads_total{model="turned"} 1.0',
        'heron_model_unloads_total{model="pocket",reason="room"} 2.0',
        'heron_model_load_failures_total{model="broken"} 1.0',
        'heron_model_generated_tokens_total{model="pocket"} 48.0',
        'heron_model_generated_tokens_total{model="turned"} 24.0',
        "heron_generated_tokens_total 72.0",
        "heron_models_loaded 0.0",
        "heron_ready 1.0",
    ):
        assert line in told.splitlines(), line
