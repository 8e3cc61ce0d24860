"""The application: routes, and what every request passes on its way to them."""

from __future__ import annotations

from importlib import import_module

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from heron import __version__
from heron.server import docs_page, errors, openapi
from heron.server.access import Access
from heron.server.auth import KeyCheck
from heron.server.bodies import BodyCheck
from heron.server.gate import Gate
from heron.server.page import Page
from heron.server.state import ServerState

#: Modules of heron.server with a ``router``.
ROUTERS = ("health", "models", "metrics", "chat", "completions", "embeddings", "inspect", "llamacpp", "llamacpp_text", "llamacpp_state")


def create_app(state: ServerState) -> FastAPI:
    """The application of one server. Its routes find ``state`` as ``request.app.state.heron``."""
    app = FastAPI(
        title="Heron",
        version=__version__,
        description=openapi.DESCRIPTION,
        responses=openapi.RESPONSES,
        redirect_slashes=False,  # redirects would be built of the Host header, which anyone may write
        docs_url=None,  # FastAPI's own page brings its scripts from elsewhere
        redoc_url=None,
    )
    app.state.heron = state
    for name in ROUTERS:
        app.include_router(import_module(f"heron.server.{name}").router)
    errors.install(app)
    openapi.install(app)
    docs_page.install(app)
    settings = state.settings
    # From the innermost to the outermost: the last one added is the first that a request meets.
    app.add_middleware(errors.FaultsToErrors)
    app.add_middleware(BodyCheck, limits=settings.limits)
    app.add_middleware(Gate, state=state)
    app.add_middleware(KeyCheck, keys=settings.api_keys)
    if settings.cors:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors,
            allow_methods=["*"],
            allow_headers=["*"],
            expose_headers=["x-request-id", "x-heron-warning", "retry-after"],
        )
    if settings.page:
        app.add_middleware(Page)
    app.add_middleware(Access, metrics=state.metrics)
    return app
