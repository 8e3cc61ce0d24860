"""`heron serve`: a model over HTTP."""

from __future__ import annotations

from typing import Annotated

import typer

from heron.cli.opening import open_model
from heron.server.settings import Settings

DEFAULTS = Settings()


def serve(
    model: Annotated[str | None, typer.Argument(help="A GGUF file or a folder with safetensors; the pocket model if left out.")] = None,
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = DEFAULTS.host,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any that is free.")] = DEFAULTS.port,
) -> None:
    """Serve a model over HTTP."""
    from heron.engine.engine import Engine
    from heron.server.running import serve as run
    from heron.server.state import ServerState

    run(ServerState(Settings(host=host, port=port)), lambda: Engine(open_model(model)))
