"""Servers of two models, that the fixture ``folder`` has: what they are asked, and how they are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from http_serving import Served

import heron
from heron.engine.engine import Engine
from heron.server.catalog import Entry
from heron.server.room import Sizes

NAMES = ("pocket", "turned")
ASKED: dict[str, Any] = {"prompt": "heron run", "temperature": 0, "max_tokens": 24, "ignore_eos": True}


def load(entry: Entry, sizes: Sizes) -> Engine:
    made = Engine(heron.load(entry.path, threads=1, ctx_size=sizes.ctx_size), max_seqs=4, kv_cache_size=sizes.kv_cache_size)
    made.start()
    return made


def entries(folder: Path) -> list[Entry]:
    return [Entry((path.stem,), path) for path in sorted(folder.glob("*.gguf"), key=lambda path: (path.stem != "pocket", path.stem))]


def listed(served: Served) -> dict[str, dict[str, Any]]:
    return {each["id"]: each for each in served.get("/v1/models").json()["data"]}
