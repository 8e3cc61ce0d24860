"""A hub on loopback: repositories from memory, with the answers of the real one, and its troubles on request."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"
#: Files up to this size are git's own, named by its SHA-1; larger ones have a SHA-256.
SMALL = 2000


@dataclass
class FakeHub:
    """``repositories[name][path]`` are the bytes; ``bad[path]`` are sent in their place."""

    url: str
    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)
    bad: dict[str, bytes] = field(default_factory=dict)
    token: str | None = None  # what a gated hub asks for
    refusal: tuple[int, str] = (401, "GatedRepo")  # what those without it get
    message: str = "no"
    listed: bool = True  # those see the names of the files all the same
    busy: int = 0  # so many answers to come are refused
    trouble: int = 429  # with this status
    elsewhere: str = ""  # another host that has the bytes of files
    retry_after: str = "0"
    cut: list[int] = field(default_factory=list)  # the next files end after so many bytes
    hold: threading.Event | None = None  # and are held there until then
    ranges: bool = True
    slow: float = 0.0  # seconds before the bytes of a file
    asked: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Range) of each file that was sent
    listing: bytes | None = None  # in place of every answer
    sent: int = 0
    agents: set[str] = field(default_factory=set)
    tokens: set[str | None] = field(default_factory=set)  # the Authorization of each request


@contextmanager
def hub() -> Iterator[FakeHub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_HEAD(self) -> None:
            repository, _, rest = unquote(self.path).strip("/").partition("/resolve/")
            data = fake.repositories[repository][rest.partition("/")[2]]
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("ETag", f'"{hashlib.sha256(data).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()

        def do_GET(self) -> None:
            fake.tokens.add(self.headers["Authorization"])
            if fake.busy:
                fake.busy -= 1
                return self.refuse(fake.trouble, headers={"Retry-After": fake.retry_after})
            path = unquote(urlsplit(self.path).path).strip("/")
            if fake.token and not (fake.listed and path.startswith("api/")) and self.headers.get("Authorization") != f"Bearer {fake.token}":
                return self.refuse(*fake.refusal)
            fake.agents.add(self.headers["User-Agent"])
            if fake.listing is not None:
                return self.answer(200, fake.listing)
            if path.startswith("api/models/"):
                return self.model(path.removeprefix("api/models/"))
            if fake.elsewhere:
                return self.answer(302, b"", {"Location": fake.elsewhere + self.path})
            repository, _, rest = path.partition("/resolve/")
            return self.file(fake.repositories[repository], rest.partition("/")[2])

        def model(self, path: str) -> None:
            repository, _, revision = path.partition("/revision/")
            if repository not in fake.repositories:
                return self.refuse(404, "RepoNotFound")
            if revision not in ("", "main", "v2", "refs/pr/1", COMMIT):
                return self.refuse(404, "RevisionNotFound")
            siblings = []
            for name, data in fake.repositories[repository].items():
                oid = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
                siblings.append({"rfilename": name, "size": len(data), "blobId": oid})
                if len(data) > SMALL:
                    siblings[-1]["lfs"] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            self.answer(200, json.dumps({"id": repository, "sha": COMMIT, "siblings": siblings}).encode())

        def file(self, files: dict[str, bytes], name: str) -> None:
            if name not in files:
                return self.refuse(404, "EntryNotFound")
            asked = self.headers.get("Range")
            fake.asked.append((name, asked))
            time.sleep(fake.slow)
            data, start = fake.bad.get(name, files[name]), 0
            if asked and fake.ranges:
                start = int(asked.removeprefix("bytes=").removesuffix("-"))
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(data) - start))
            if start:
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            self.end_headers()
            end = fake.cut.pop(0) if fake.cut else len(data)
            self.wfile.write(data[start:end])
            if fake.hold and end < len(data):
                fake.hold.wait(60)
            fake.sent += len(data[start:end])
            self.close_connection = end < len(data)

        def refuse(self, status: int, code: str = "", headers: dict[str, str] | None = None) -> None:
            self.answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": fake.message, **(headers or {})})

        def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for key, value in {"Content-Length": str(len(body)), "Content-Type": "application/json", **(headers or {})}.items():
                self.send_header(key, value)
            self.end_headers()
            self.wfile.write(body)

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: object, address: object) -> None:
            pass  # a client that went away

    server = Server(("127.0.0.1", 0), Handler)
    fake = FakeHub(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
