"""What the routes of one server share: the engine, once it is there, and what it is told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heron.server.errors import ApiError
from heron.server.metrics import Metrics
from heron.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import Request

    from heron.engine.engine import Engine


@dataclass(eq=False)
class ServerState:
    """Routes get it by ``state_of(request)``. ``engine`` is None while the model is loaded; routes behind the gate never see that.

    ``names`` are what clients may call the model; the first is what answers call it.
    """

    settings: Settings = field(default_factory=Settings)
    names: tuple[str, ...] = ("model",)
    engine: Engine | None = None
    draining: bool = False  # a signal came: what runs goes on, nothing begins
    active: int = 0  # requests under way
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics = Metrics(self)

    @property
    def is_ready(self) -> bool:
        return self.engine is not None and not self.draining

    @property
    def name(self) -> str:
        return self.names[0]

    def ready_engine(self) -> Engine:
        """The engine. Raises ApiError 503 while the model is loaded."""
        if self.engine is None:
            raise ApiError(503, "the model is being loaded; ask again soon", code="loading", headers={"retry-after": "1"})
        return self.engine

    def check(self) -> None:
        """Raises ApiError 503 where no request may begin: while the model is loaded, and when the server is to stop."""
        if self.draining:
            raise ApiError(503, "the server is stopping", code="draining", headers={"retry-after": "5", "connection": "close"})
        self.ready_engine()


def state_of(request: Request) -> ServerState:
    state: ServerState = request.app.state.heron
    return state
