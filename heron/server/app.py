"""The application: routes, and what every request passes on its way to them."""

from __future__ import annotations

from importlib import import_module

from fastapi import FastAPI

from heron import __version__
from heron.server import errors
from heron.server.state import ServerState

#: Modules of heron.server with a ``router``.
ROUTERS = ("health",)


def create_app(state: ServerState) -> FastAPI:
    """The application of one server. Its routes find ``state`` as ``request.app.state.heron``."""
    # A redirect to the path with or without a slash would be built of the Host header, which anyone may write.
    app = FastAPI(title="Heron", version=__version__, redirect_slashes=False)
    app.state.heron = state
    for name in ROUTERS:
        app.include_router(import_module(f"heron.server.{name}").router)
    errors.install(app)
    app.add_middleware(errors.FaultsToErrors)
    return app
