"""Who may ask: keys, compared in constant time, for every path but those named here."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from starlette.types import ASGIApp, Receive, Scope, Send

from heron.errors import RequestError
from heron.server.errors import ApiError

#: Paths that need no key, as they stand in the request line: what is written in another way is not one of them. What is there to read
#: is this program's and tells nothing of a server's own; a browser has no way to send a key with the address of a page.
OPEN = frozenset({b"/health", b"/docs", b"/openapi.json"})


class KeyCheck:
    """ASGI middleware. A key comes as ``Authorization: Bearer KEY`` or as ``x-api-key: KEY``."""

    def __init__(self, app: ASGIApp, keys: Iterable[str]) -> None:
        self.app = app
        self._digests = [_digest(key.encode()) for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._digests and scope["type"] == "http" and scope.get("raw_path") not in OPEN:
            offered = list(_offered(scope["headers"]))
            if not any(map(self._known, offered)):
                wrong = "the API key is wrong" if offered else "this server needs an API key, as `Authorization: Bearer KEY`"
                told = ApiError(401, wrong, code="invalid_api_key", headers={"www-authenticate": "Bearer"})
                await told.response()(scope, receive, send)
                return
        await self.app(scope, receive, send)

    def _known(self, key: bytes) -> bool:
        """Compared with every key whatever the first says, and by digests of one length: the time says nothing of the keys."""
        digest = _digest(key)
        return sum(hmac.compare_digest(digest, known) for known in self._digests) > 0


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _offered(headers: Sequence[tuple[bytes, bytes]]) -> Iterable[bytes]:
    for name, value in headers:
        if name == b"x-api-key":
            yield value.strip()
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            yield value[7:].strip()


def all_keys(given: list[str], path: Path | None) -> tuple[str, ...]:
    """Those that are given, and those of a file. Raises RequestError for an empty one, and for a file without a key."""
    if not all(key.strip() for key in given):
        raise RequestError("an API key is empty; leave it out, or give one that nobody guesses")
    return (*(key.strip() for key in given), *(() if path is None else _read_keys(path)))


def _read_keys(path: Path) -> list[str]:
    """One a line; empty lines and those that begin with # are none."""
    try:
        lines = [line.strip() for line in Path(os.path.expanduser(path)).read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"the file of API keys {str(path)!r} cannot be read: {error}") from None
    keys = [line for line in lines if line and not line.startswith("#")]
    if not keys:
        raise RequestError(f"the file of API keys {str(path)!r} holds none; write one a line")
    return keys
