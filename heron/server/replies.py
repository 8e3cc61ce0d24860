"""Answers as responses: whole, or a stream of events, in the shape of an API."""

from __future__ import annotations

import hashlib
import json
import secrets
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from heron import __version__
from heron.server.answers import Answers, Asked, Choice, Delta
from heron.server.lease import Lease
from heron.server.parameters import Sampling
from heron.server.state import state_of
from heron.server.stream import DONE, EventStream, frame, while_connected

#: Names what a server did not heed in a request.
WARNING = "x-heron-warning"


class Shape(ABC):
    """How an API writes answers down."""

    end = DONE

    @abstractmethod
    def whole(self, answers: Answers) -> Any:
        """All answers, as JSON."""

    @abstractmethod
    def events(self, answers: Answers, choice: Choice, delta: Delta, first: bool, last: bool) -> Iterable[Any]:
        """What a stream says of more of an answer; ``first`` and ``last`` of each once."""

    def closing(self, answers: Answers) -> Iterable[Any]:
        """What a stream says when all answers have ended."""
        return ()


async def respond(request: Request, body: Sampling, lease: Lease, asked: Sequence[Asked], shape: Shape) -> Response:
    """Have the engine answer. A client that goes away takes its request with it."""
    constraint = asked[0].params.constraint
    if constraint is not None:
        await body.compile(lease.model, constraint)
    answers = Answers(lease, asked, body.options)
    headers = warning(body.ignored)
    if body.stream:
        frames, ping = _frames(answers, shape), state_of(request).settings.ping_interval
        return EventStream(frames, close=answers.cancel, ping_interval=ping, end=shape.end, headers=headers)
    try:
        await while_connected(request.receive, answers.collect())
    finally:
        answers.cancel()
    return reply(shape.whole(answers), headers)


async def _frames(answers: Answers, shape: Shape) -> AsyncGenerator[bytes, None]:
    begun: set[int] = set()
    async for choice, delta, last in answers.deltas():
        if delta.text or delta.pieces or last:
            for event in shape.events(answers, choice, delta, choice.index not in begun, last):
                yield frame(event)
            begun.add(choice.index)
    for event in shape.closing(answers):
        yield frame(event)


def documented(whole: dict[str, Any], event: dict[str, Any], done: bool = True) -> dict[int | str, dict[str, Any]]:
    """For a route's ``responses``: an answer, and an event of a stream."""
    stream = f"data: {json.dumps(event)}\n\n" + ("data: [DONE]\n\n" if done else "")
    kinds = {"application/json": {"example": whole}, "text/event-stream": {"example": stream}}
    return {200: {"description": "The answer; events where `stream` is true", "content": kinds}}


def reply(data: Any, headers: Mapping[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(data), 200, headers, "application/json")


def warning(ignored: Sequence[str]) -> dict[str, str]:
    """A header that names what is ignored; characters that no header may have are escaped."""
    if not ignored:
        return {}
    names = [name.encode("ascii", "backslashreplace").decode().translate(_CONTROL)[:60] for name in ignored[:20]]
    more = f" and {len(ignored) - len(names)} more" if len(ignored) > len(names) else ""
    return {WARNING: f"ignored: {', '.join(names)}{more}"}


_CONTROL = dict.fromkeys((*range(32), 127), "?")


def new_id(kind: str) -> str:
    return f"{kind}-{secrets.token_hex(12)}"


def fingerprint(lease: Lease) -> str:
    """Says which answers are comparable: the same for the same program, model and backend."""
    model = lease.model
    parts = (__version__, lease.name, model.checkpoint.architecture, model.backend, str(model.context_length))
    return "fp_" + hashlib.blake2b("\0".join(parts).encode(), digest_size=5).hexdigest()
