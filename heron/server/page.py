"""The chat page: the files that `make web` leaves in heron/page/, to whoever can reach the server.

They hold nothing of anybody's and need no key; what the page asks with them does. They are there while the model is loaded.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

FOLDER = Path(__file__).resolve().parents[1] / "page"

#: What is served, and as what; a file of another kind in the folder is not.
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}

#: No code but the bundle's own, no text that becomes HTML (trusted types: there is no policy), no asking anywhere but here.
_POLICY = (
    "default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)

_ALWAYS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "vary": "accept-encoding",
}

_ABSENT = """\
The chat page is not built. In Heron's repository, `make web` builds it (with Node 20.19 or newer).
The API is at /v1, its documentation at /docs.
"""


class File:
    """One file, read once. Those in assets/ have a digest of their content in their name, and never change."""

    def __init__(self, path: Path, hashed: bool) -> None:
        self.data, self.kind = path.read_bytes(), _KINDS[path.suffix]
        self._tag = hashlib.sha256(self.data).hexdigest()[:20]
        self._keep = "public, max-age=31536000, immutable" if hashed else "no-cache"

    @cached_property
    def _zipped(self) -> bytes:
        return gzip.compress(self.data, mtime=0)

    def response(self, headers: Mapping[bytes, bytes]) -> Response:
        """200, or 304 to who has it."""
        zipped = re.search(rb"\bgzip\b(?!\s*;\s*q=0(\.0*)?\s*(,|$))", headers.get(b"accept-encoding", b"")) is not None
        tag = f'"{self._tag}-gzip"' if zipped else f'"{self._tag}"'
        told = {**_ALWAYS, "etag": tag, "cache-control": self._keep}
        if tag.encode() in re.findall(rb'"[^"]*"', headers.get(b"if-none-match", b"")):
            return Response(status_code=304, headers=told)
        if zipped:
            told["content-encoding"] = "gzip"
        return Response(self._zipped if zipped else self.data, headers=told, media_type=self.kind)


def files(folder: Path) -> dict[bytes, File]:
    """What there is to serve, by its path in a request line. A path that is not in here is no file, whatever it says."""
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.suffix in _KINDS and path.is_file()}
    served = {f"/{name}".encode(): File(path, name.startswith("assets/")) for name, path in found.items()}
    return {b"/": served.pop(b"/index.html"), **served} if b"/index.html" in served else {}


class Page:
    """ASGI middleware, outside of keys and gate: answers what is asked of the page's own paths and passes the rest on."""

    def __init__(self, app: ASGIApp) -> None:
        self.app, self._files = app, files(FOLDER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] in ("GET", "HEAD"):
            if file := self._files.get(scope["raw_path"]):
                await file.response(dict(scope["headers"]))(scope, receive, send)
                return
            if scope["raw_path"] == b"/" and not self._files:
                await PlainTextResponse(_ABSENT, 404, _ALWAYS)(scope, receive, send)
                return
        await self.app(scope, receive, send)
