"""A server from its start to its end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import uvicorn

from heron.engine.engine import Engine
from heron.server.app import create_app
from heron.server.state import ServerState


def serve(state: ServerState, load: Callable[[], Engine]) -> None:
    """Serve until a signal ends it. ``load``, called in a thread, gives the engine."""

    def begin() -> None:
        state.engine = load()
        state.engine.start()
        state.model = state.engine.model

    threading.Thread(target=begin, name="heron-load", daemon=True).start()
    settings = state.settings
    config = uvicorn.Config(
        create_app(state), settings.host, settings.port, http="httptools", lifespan="off", proxy_headers=False, server_header=False
    )
    uvicorn.Server(config).run()
