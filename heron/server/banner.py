"""What a server says when it is ready: where it is, what it serves, what that takes, and how to try it."""

from __future__ import annotations

import json
import socket
from typing import Any

from heron import __version__
from heron.engine.engine import Engine
from heron.engine.memory import available_bytes
from heron.server.resident import Resident
from heron.server.settings import Settings
from heron.server.state import ServerState


def address(sockets: list[socket.socket]) -> str:
    """The URL that a client on this machine can use."""
    host, port = sockets[0].getsockname()[:2]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def banner(state: ServerState, url: str) -> str:
    """A few lines for people."""
    settings, loaded = state.settings, list(state.pool.residents.values())
    where = f"{url} ({'a page to chat on; ' if settings.page else ''}docs at {url}/docs)"
    rows = [("address", where), *(_of_one(loaded[0], settings, url) if loaded else _of_all(state, url))]
    if not settings.api_keys and settings.host not in ("127.0.0.1", "localhost", "::1"):
        rows.insert(1, ("warning", "whoever reaches this address may use it; --api-key keeps others out"))
    return "\n".join([f"Heron {__version__} is ready", *(f"{name:>10}  {value}" for name, value in rows)])


def _of_one(resident: Resident, settings: Settings, url: str) -> list[tuple[str, str]]:
    engine, entry = resident.engine, resident.entry
    return [
        ("model", f"{' = '.join(entry.names)}: {engine.model.checkpoint.architecture}, {entry.path}"),
        ("memory", _memory(engine)),
        ("requests", _requests(engine, settings)),
        ("try", _curl(engine, settings, entry.name, url)),
    ]


def _of_all(state: ServerState, url: str) -> list[tuple[str, str]]:
    """Of models that are loaded on demand."""
    names = [entry.name for entry in state.pool.catalog.entries]
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    body = {"model": names[0] if names else "NAME", "messages": [{"role": "user", "content": "Hello"}]}
    return [
        ("models", f"{', '.join(names[:8]) or 'none yet'}{more}; each is loaded when it is asked for"),
        ("memory", f"{size(available_bytes())} free; {state.pool.bounds}"),
        ("requests", f"{state.settings.limits.queue} waiting"),
        ("try", _written(state.settings, url, "chat/completions", body)),
    ]


def _memory(engine: Engine) -> str:
    held = engine.model.executable.memory()
    cache = f"KV cache {size(held.get('state', 0))} for {engine.kv_tokens} tokens"
    return f"weights {size(held.get('weights', 0))}, {cache}; a step's buffers come with the first one"


def _requests(engine: Engine, settings: Settings) -> str:
    own, context = engine.model.graph_model.context_length, engine.context_length
    less = f" (the model's own is {own})" if context < own else ""
    return f"{engine.scheduler.max_seqs} at once, {settings.limits.queue} waiting; context {context} tokens each{less}"


def _curl(engine: Engine, settings: Settings, name: str, url: str) -> str:
    model = engine.model
    body: dict[str, Any]
    if model.is_encoder:
        path, body = "embeddings", {"model": name, "input": "A heron waits"}
    elif model.tokenizer.chat_template:
        path, body = "chat/completions", {"model": name, "messages": [{"role": "user", "content": "Hello"}]}
    else:
        path, body = "completions", {"model": name, "prompt": "Once upon a time", "max_tokens": 50}
    return _written(settings, url, path, body)


def _written(settings: Settings, url: str, path: str, body: dict[str, Any]) -> str:
    key = " -H 'Authorization: Bearer KEY'" if settings.api_keys else ""
    return f"curl {url}/v1/{path} -H 'Content-Type: application/json'{key} -d '{json.dumps(body)}'"


def size(count: int) -> str:
    """Bytes in the unit that suits them."""
    for unit, bits in (("GiB", 30), ("MiB", 20)):
        if count >= 1 << bits:
            return f"{count / (1 << bits):.1f} {unit}"
    return f"{count / 1024:.0f} KiB"
