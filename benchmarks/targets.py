"""Who answers a load (load.py): a server over HTTP, Heron's engine without it, llama.cpp's batched steps."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import msgspec
from load import Asked, Load, Prompt, Reply, Round, Target
from turns import Worker

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Http(Asked):
    """Any server that speaks OpenAI's API, asked for streams over connections that are kept. A plain client: it shares the machine."""

    name = "HTTP"

    def __init__(self, url: str, model: str = "default", key: str | None = None, extra: dict[str, Any] | None = None) -> None:
        """``extra`` are parameters of each request, beside those that are OpenAI's."""
        parts = urlsplit(url if "//" in url else f"http://{url}")
        self._tls = parts.scheme == "https"
        self._host, self._port = parts.hostname or "127.0.0.1", parts.port or (443 if self._tls else 80)
        self._base = parts.path.rstrip("/").removesuffix("/v1")
        self._head = f"Host: {parts.netloc}\r\nContent-Type: application/json\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        self._body = {"model": model, "stream": True, "stream_options": {"include_usage": True}, "temperature": 0} | (extra or {})
        self._idle: list[Stream] = []

    async def ask(self, prompt: Prompt, output: int, reply: Reply) -> None:
        chat = isinstance(prompt[0], dict)
        body = msgspec.json.encode(self._body | {"messages" if chat else "prompt": prompt, "max_tokens": output})
        path = f"{self._base}/v1/{'chat/' if chat else ''}completions"
        request = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        try:
            reader, writer = self._idle.pop() if self._idle else await self._connect()
            writer.write(request)
            status, headers = await _head(reader)
            async for line in _lines(reader, headers):
                if status == 200 and line.startswith(b"data: {"):
                    status = _note(msgspec.json.decode(line[6:]), reply)
            reply.status = status
            if headers.get(b"connection", b"").lower() != b"close":
                self._idle.append((reader, writer))
            else:
                writer.close()
        except (OSError, asyncio.IncompleteReadError, ValueError):
            reply.status = 0

    async def _connect(self) -> Stream:
        return await asyncio.open_connection(self._host, self._port, ssl=self._tls or None)

    async def rest(self) -> None:
        """Connections belong to the round's loop."""
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


def _note(event: dict[str, Any], reply: Reply) -> int:
    """What an event says, and the status that the answer has by it."""
    if "error" in event:
        return 500
    for choice in event.get("choices", ()):
        said = choice.get("delta", choice)
        if said.get("text") or said.get("content") or said.get("reasoning_content"):
            reply.text()
    if usage := event.get("usage"):
        reply.tokens, reply.prompt_tokens = usage["completion_tokens"], usage["prompt_tokens"]
        reply.cached_tokens = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    return 200


async def _head(reader: asyncio.StreamReader) -> tuple[int, dict[bytes, bytes]]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
    pairs = (line.split(b":", 1) for line in lines if line)
    return int(first.split(b" ", 2)[1]), {name.lower(): value.strip() for name, value in pairs}


async def _lines(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    """The lines of a body, each as soon as it is there."""
    left = b""
    async for part in _parts(reader, headers):
        *lines, left = (left + part).split(b"\n")
        for line in lines:
            yield line


async def _parts(reader: asyncio.StreamReader, headers: dict[bytes, bytes]) -> AsyncIterator[bytes]:
    if headers.get(b"transfer-encoding") != b"chunked":
        yield await reader.readexactly(int(headers.get(b"content-length", b"0")))
        return
    while size := int(await reader.readuntil(b"\r\n"), 16):
        yield (await reader.readexactly(size + 2))[:-2]
    await reader.readuntil(b"\r\n")


class Direct(Asked):
    """heron.Engine in this process: what HTTP is measured beside."""

    name = "engine"

    def __init__(self, path: str, threads: int, context: int, sequences: int) -> None:
        import heron
        from heron.server.running import SWITCH

        sys.setswitchinterval(SWITCH)  # as the server has it
        self._model = heron.load(path, threads=threads, ctx_size=context)
        self._engine = heron.Engine(self._model, max_seqs=sequences)
        self._engine.start()

    async def ask(self, prompt: Prompt, output: int, reply: Reply) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def deliver(item: Any) -> None:
            if item is None or isinstance(item, Exception):
                loop.call_soon_threadsafe(ended.set)
            elif item.text:
                reply.text()

        request = self._engine.submit(prompt, max_tokens=output, temperature=0, ignore_eos=True, deliver=deliver)
        await ended.wait()
        reply.status = 200 if request.finish_reason in ("stop", "length") else 500
        reply.tokens, timings = request.answer.generated, request.timings
        reply.prompt_tokens, reply.cached_tokens = timings.prompt_tokens, timings.cached_tokens

    def close(self) -> None:
        self._engine.close()
        self._model.close()


class Peer(Target):
    """llama.cpp's batched steps: all prompts, then all answers in step. It has no queue, so that clients come in groups of so many."""

    name = "llama.cpp, batched"

    def __init__(self, python: str, path: str, threads: int, context: int, sequences: int) -> None:
        self._worker = Worker(python, "llama.cpp", path, threads=threads, context=context, sequences=sequences)

    def run(self, load: Load, seed: int, done: Callable[[], None]) -> Round:
        replies, length, begin = [], load.prefix + load.prompt, 0.0
        for start in range(0, load.requests, load.clients):
            count = min(load.clients, load.requests - start)
            took = self._worker.time(length, load.output, count)
            first = took["prefill"] + took["decode"] / load.output
            times = [begin + first + step * took["decode"] / load.output for step in range(load.output)]
            end = begin + took["prefill"] + took["decode"]
            replies += [Reply(begin, times, 200, load.output, length, 0, end) for _ in range(count)]
            begin = end
            for _ in range(count):
                done()
        return Round(begin, replies)

    def close(self) -> None:
        self._worker.__exit__(None, None, None)


@contextmanager
def serving(path: str, threads: int, context: int, sequences: int) -> Iterator[str]:
    """The address of a ``heron serve`` of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {"port": port, "threads": threads, "ctx-size": context, "parallel": sequences, "request-timeout": 0, "log-level": "warning"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "heron", "serve", path, *words]
    with tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
        try:
            while process.poll() is None and not _healthy(f"http://127.0.0.1:{port}/health"):
                time.sleep(0.1)
            if process.poll() is not None:
                errors.seek(0)
                sys.exit(f"{' '.join(command)} ended:\n{errors.read()[-2000:]}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _healthy(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):
            return True
    except OSError:
        return False
