"""What the routes of one server share: the model and its engine, once they are there."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heron.server.errors import ApiError
from heron.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import Request

    from heron.engine.engine import Engine
    from heron.engine.model import Model


@dataclass(eq=False)
class ServerState:
    """Routes get it as ``request.app.state.heron`` (``state_of(request)``).

    ``model`` is None while it is loaded. ``engine`` is None too for a model that gives vectors and no text.
    ``names`` are what clients may call the model; the first is what answers call it.
    """

    settings: Settings = field(default_factory=Settings)
    names: tuple[str, ...] = ("model",)
    model: Model | None = None
    engine: Engine | None = None
    draining: bool = False  # SIGTERM came: what runs goes on, nothing begins
    active: int = 0  # requests under way, but for those about the server itself
    created: int = field(default_factory=lambda: int(time.time()))

    @property
    def name(self) -> str:
        return self.names[0]

    def ready_model(self) -> Model:
        """The model. Raises ApiError 503 while it is loaded."""
        if self.model is None:
            raise ApiError(503, "the model is being loaded; ask again soon", code="loading", headers={"retry-after": "1"})
        return self.model

    def ready_engine(self) -> Engine:
        """The engine. Raises ApiError 503 while the model is loaded, 400 where it gives no text."""
        model = self.ready_model()
        if self.engine is None:
            model.must_generate()
            raise ApiError(503, "the engine is closed", code="closing")
        return self.engine


def state_of(request: Request) -> ServerState:
    state: ServerState = request.app.state.heron
    return state
