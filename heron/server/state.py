"""What the routes of one server share: its models, and what it is told."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from heron.server.errors import ApiError
from heron.server.metrics import Metrics
from heron.server.pool import Pool
from heron.server.settings import Settings

if TYPE_CHECKING:
    from fastapi import Request


@dataclass(eq=False)
class ServerState:
    """Routes get it by ``state_of(request)``, and a model by ``leased`` (leasing.py)."""

    settings: Settings
    pool: Pool
    draining: bool = False  # a signal came: what runs goes on, nothing begins
    active: int = 0  # requests under way
    created: int = field(default_factory=lambda: int(time.time()))

    def __post_init__(self) -> None:
        self.metrics = Metrics(self)

    @property
    def is_ready(self) -> bool:
        return self.pool.is_ready and not self.draining

    def check(self) -> None:
        """Raises ApiError 503 where no request may begin: while the model is loaded, and when the server is to stop."""
        if self.draining:
            raise ApiError(503, "the server is stopping", code="draining", headers={"retry-after": "5", "connection": "close"})
        if not self.pool.is_ready:
            raise ApiError(503, "the model is being loaded; ask again soon", code="loading", headers={"retry-after": "1"})


def state_of(request: Request) -> ServerState:
    state: ServerState = request.app.state.heron
    return state
