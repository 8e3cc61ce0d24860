"""What can be served, by which names, and what is known of it before it is loaded."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path

import pytest
from http_serving import serving_pool
from tiny_vectors import encoder

from heron import pocket
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf, write_shards
from heron.engine.engine import Engine
from heron.errors import RequestError
from heron.graph.graph import Model
from heron.hub.names import Name
from heron.server.catalog import Catalog, Entry
from heron.server.facts import Facts, read_facts
from heron.server.keep_alive import seconds
from heron.server.pool import Pool
from heron.server.room import Sizes


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("5m", 300),
        ("30s", 30),
        ("1h30m", 5400),
        ("250ms", 0.25),
        ("1.5h", 5400),
        ("90", 90),
        (90, 90),
        (0.5, 0.5),
        ("0", 0),
        (0, 0),
        ("-0", 0),
        ("-1", math.inf),
        (-1, math.inf),
        (-(10**400), math.inf),
        (10**400, 10**9),
        ("-5m", math.inf),
        ("forever", math.inf),
    ],
)
def test_times(text: str | float, meant: float) -> None:
    assert seconds(text) == meant


@pytest.mark.parametrize("text", ["", "soon", "5 m", "5m soon", "m", "5x", "nan", "inf", "1e999", "--1"])
def test_what_is_no_time(text: str) -> None:
    with pytest.raises(RequestError, match="keep_alive is"):
        seconds(text)


def test_names_of_the_hub() -> None:
    entries = [
        Entry(("pocket",), Path("pocket.gguf")),
        Entry(("Org/One-GGUF:Q4_K_M",), Path("a"), Name("Org/One-GGUF", "Q4_K_M")),
        Entry(("Org/One-GGUF:Q8_0",), Path("b"), Name("Org/One-GGUF", "Q8_0")),
        Entry(("mine",), Path("c"), Name("unsloth/Qwen3-0.6B-GGUF", "Q8_0")),
    ]
    catalog = Catalog(lambda: entries)
    for name, path in (
        ("pocket", "pocket.gguf"),
        ("Org/One-GGUF:Q8_0", "b"),
        ("org/one-gguf:q8_0", "b"),
        ("Org/One-GGUF", "a"),
        ("mine", "c"),
        ("qwen3:0.6b", "c"),
        ("https://huggingface.co/unsloth/Qwen3-0.6B-GGUF", "c"),
    ):
        found = catalog.find(name)
        assert found is not None and found.path == Path(path), name
    for name in ("Pocket", "Org/One-GGUF:Q2_K", "Org/Two", "qwen3:9999b", "", "../pocket.gguf", "qwen3:0.6b:Q4_0"):
        assert catalog.find(name) is None, name


def test_what_models_can_do_by_their_files(tmp_path: Path) -> None:
    def facts(path: Path) -> Facts:
        return read_facts(path, lambda model: model.context_length)

    assert facts(pocket.path()).capabilities == ("chat", "completion", "embeddings")
    with Checkpoint(pocket.path()) as checkpoint:
        plain = {key: value for key, value in checkpoint.metadata.items() if key != "tokenizer.chat_template"}
        tokens = [f"<{at}>" for at, _ in enumerate(plain["tokenizer.ggml.tokens"])]
        write_gguf(tmp_path / "mute.gguf", plain | {"tokenizer.ggml.tokens": tokens}, checkpoint.tensors)
        tokens[-3:] = ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"]
        write_gguf(tmp_path / "fills.gguf", plain | {"tokenizer.ggml.tokens": tokens}, checkpoint.tensors)
    assert facts(tmp_path / "mute.gguf").capabilities == ("completion", "embeddings")
    assert facts(tmp_path / "fills.gguf").capabilities == ("completion", "embeddings", "infill")
    found = facts(encoder(tmp_path / "encoder.gguf"))
    assert (found.architecture, found.capabilities, found.context_length) == ("bert", ("embeddings",), 64)


def test_a_model_of_vectors_is_not_loaded_for_a_chat(tmp_path: Path) -> None:
    only = Entry(("vectors",), encoder(tmp_path / "encoder.gguf"))

    def load(entry: Entry, sizes: Sizes) -> Engine:
        raise AssertionError("it is loaded")

    with serving_pool(Pool(Catalog(lambda: [only]), load)) as served:
        for path, body in (
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}], "stream": True}),
            ("/v1/completions", {"prompt": "a"}),
            ("/completion", {"prompt": "a"}),
            ("/infill", {"input_prefix": "a", "input_suffix": "b"}),
        ):
            refused = served.post(path, json=body | {"model": "vectors"})
            error = refused.json()["error"]
            assert (refused.status_code, error["param"], error["code"]) == (400, "model", "unsupported")
            assert "gives vectors and no text" in error["message"]


def test_files_are_read_once_until_they_change(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(pocket.path().read_bytes())
    entry = Entry(("m",), path)
    catalog = Catalog(lambda: [entry])
    assert catalog.facts(entry) is not None and catalog.facts(entry) is catalog.facts(entry)
    path.write_bytes(b"GGUF")
    assert catalog.facts(entry) is None
    path.unlink()
    assert catalog.facts(entry) is None


def test_a_missing_part_is_noticed_when_it_comes(tmp_path: Path) -> None:
    with Checkpoint(pocket.path()) as checkpoint:
        tensors = list(checkpoint.tensors.items())
        first, second = write_shards(tmp_path / "m.gguf", checkpoint.metadata, [dict(tensors[:5]), dict(tensors[5:])])
    away = second.rename(tmp_path / "away")
    entry = Entry(("m",), first)
    catalog = Catalog(lambda: [entry])
    assert catalog.facts(entry) is None
    away.rename(second)
    assert catalog.facts(entry) is not None


def test_several_who_look_at_once_are_told_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also while the first of them still reads."""
    entry, copy = Entry(("m",), pocket.path()), tmp_path / "copy.gguf"
    copy.symlink_to(pocket.path())
    catalog, begun, gate = Catalog(lambda: [entry]), threading.Event(), threading.Event()

    def slowly(path: Path, context: Callable[[Model], int]) -> Facts:
        begun.set()
        assert gate.wait(30)
        return read_facts(path, context)

    monkeypatch.setattr("heron.server.catalog.read_facts", slowly)
    with ThreadPoolExecutor() as threads:
        first = threads.submit(catalog.facts, entry)
        assert begun.wait(30)
        second = threads.submit(catalog.facts, entry)
        wait([second], timeout=0.1)
        monkeypatch.setattr("heron.server.catalog.read_facts", read_facts)
        assert catalog.facts(Entry(("other",), copy)) is not None  # another one is not held up
        gate.set()
        assert first.result() is second.result() is not None


def test_a_crowd_looks_twice_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once for the first, and once for all who came while that one looked."""
    scans, stand, gate = [0], threading.Semaphore(0), threading.Event()

    def scan() -> list[Entry]:
        scans[0] += 1
        assert scans[0] != 2 or gate.wait(30)  # the first is the catalog's own
        return [Entry((str(scans[0]),), pocket.path())]

    class Door:
        """A lock before which one can be seen to stand."""

        def __init__(self) -> None:
            self._lock = threading.Lock()

        def __enter__(self) -> None:
            stand.release()
            self._lock.acquire()

        def __exit__(self, *_: object) -> None:
            self._lock.release()

    catalog = Catalog(scan)
    monkeypatch.setattr(catalog, "_scanning", Door())
    with ThreadPoolExecutor(9) as threads:
        looks = [threads.submit(catalog.rescan) for _ in range(9)]
        for _ in looks:
            assert stand.acquire(timeout=30)
        gate.set()
        for look in looks:
            look.result()
    assert 2 <= scans[0] <= 3 and catalog.entries[0].name == str(scans[0])


def test_what_cannot_be_looked_for_stays() -> None:
    failing = [False]

    def scan() -> list[Entry]:
        if failing[0]:
            raise FileNotFoundError("it went while I looked")
        return [Entry(("m",), pocket.path())]

    catalog = Catalog(scan)
    failing[0] = True
    catalog.rescan()
    assert [entry.name for entry in catalog.entries] == ["m"]
