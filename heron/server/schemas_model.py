"""What the body of every request to a model may say of it."""

from __future__ import annotations

from pydantic import Field

from heron.server.body import Body
from heron.server.keep_alive import KeepAlive


class ForModel(Body):
    model: str | None = Field(None, description="A name that GET /v1/models lists; any name where there is one model.")
    keep_alive: KeepAlive | None = Field(
        None, description='How long the model stays when nobody asks it any more: "5m", seconds, or -1: for ever.'
    )
