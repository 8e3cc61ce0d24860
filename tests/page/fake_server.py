"""A server that speaks as it is told: streams that break off, refusals, keys, and going away. It serves Heron's page, with its headers."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from heron.server.page import FOLDER, files

#: In the place of a piece: the connection ends here.
CUT = object()

MODELS = [
    {"id": "alpha", "context_length": 8192, "capabilities": ["chat", "completion"], "status": "loaded", "bytes": 5 << 30},
    {"id": "beta", "context_length": 131072, "capabilities": ["chat"], "status": "unloaded"},
    {"id": "vectors", "context_length": 512, "capabilities": ["embeddings"], "status": "unloaded"},
]

Answer = Callable[[dict[str, Any]], Iterable[Any]]


def delta(**said: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": said, "finish_reason": None}]}


def saying(*pieces: str) -> Iterator[Any]:
    """A whole answer."""
    yield from (delta(content=piece) for piece in pieces)
    yield {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    yield {"choices": [], "usage": {"prompt_tokens": 40, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 32}}}


class Fake:
    """``answer`` gives the chunks of each; ``refusals`` are taken first, one a request: (status, code, headers)."""

    def __init__(self) -> None:
        self.answer: Answer = lambda body: saying("Hello", " there")
        self.refusals: list[tuple[int, str, dict[str, str]]] = []
        self.key = ""
        self.asked: list[dict[str, Any]] = []
        self.files = files(FOLDER)
        self.port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Listen; where it listened before, if it did."""
        fake = self

        class Handler(_Handler):
            told = fake

        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def __enter__(self) -> Fake:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class _Handler(BaseHTTPRequestHandler):
    told: Fake
    protocol_version = "HTTP/1.0"  # a connection for each request, so that stopping ends all of them

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        if file := self.told.files.get(self.path.encode()):
            answer = file.response({})
            self._send(answer.status_code, bytes(answer.body), {k.decode(): v.decode() for k, v in answer.raw_headers})
        elif not self._may():
            self._refuse(401, "invalid_api_key", {})
        else:
            self._send(200, json.dumps({"object": "list", "data": MODELS}).encode(), {"content-type": "application/json"})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.told.asked.append(body)
        if not self._may():
            self._refuse(401, "invalid_api_key", {})
        elif self.told.refusals:
            self._refuse(*self.told.refusals.pop(0))
        else:
            self._stream(self.told.answer(body))

    def _may(self) -> bool:
        return not self.told.key or self.headers.get("authorization") == f"Bearer {self.told.key}"

    def _stream(self, chunks: Iterable[Any]) -> None:
        self.send_response(200)
        self.send_header("content-type", "text/event-stream")
        self.end_headers()
        try:
            for chunk in chunks:
                if chunk is CUT:
                    return
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()
            self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            pass  # the page went away

    def _refuse(self, status: int, code: str, headers: dict[str, str]) -> None:
        said = {"error": {"message": f"refused with {status}", "type": "t", "param": None, "code": code}}
        self._send(status, json.dumps(said).encode(), {"content-type": "application/json", **headers})

    def _send(self, status: int, data: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)
