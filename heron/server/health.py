"""GET /health: whether the server can answer. It needs no key."""

from __future__ import annotations

from fastapi import APIRouter, Request

from heron.server.state import state_of

router = APIRouter(tags=["server"])


@router.get("/health", summary="Whether the server is ready")
async def health(request: Request) -> dict[str, str]:
    """`{"status": "ok"}`; 503 with the code `loading` while the model is loaded, and `draining` once the server is to stop."""
    state_of(request).check()
    return {"status": "ok"}
