"""`heron serve` as a process: loading, a port in use, signals while streams run."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_serving import PATIENCE, until

from heron import pocket

ROOT = Path(__file__).resolve().parents[2]

#: An answer that takes some seconds, since each step of the server's model waits a little.
LONG = {"prompt": "Hello", "max_tokens": 900, "ignore_eos": True, "stream": True, "temperature": 0}

#: Serves as the command does, with a model that is not loaded before a file is there, or that steps slowly.
SLOW = """
import os, sys, time
import heron.cli
from heron.backends.base import Executable
from heron.engine import model

loaded, stepping = sys.argv.pop(1), float(sys.argv.pop(1))
run, allocate = Executable.run, model.Model.allocate

def slowly(self, *args):
    time.sleep(stepping)
    return run(self, *args)

def late(self):
    while loaded and not os.path.exists(loaded):
        time.sleep(0.02)
    allocate(self)

Executable.run, model.Model.allocate = slowly, late
heron.cli.main()
"""


class Process:
    """A server of the pocket model on a free port."""

    def __init__(self, *options: str, loaded: Path | None = None, stepping: float = 0) -> None:
        command = [sys.executable, "-c", SLOW, str(loaded or ""), str(stepping), "serve", str(pocket.path()), "--threads", "1", *options]
        env = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        assert self.running.stderr is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", first := self.running.stderr.readline())
        assert found, first + self.running.stderr.read()
        self.url = found.group()
        until(lambda: self.health() is not None)
        if loaded is None:
            until(lambda: self.health() == 200)

    def health(self) -> int | None:
        try:
            return httpx.get(f"{self.url}/health").status_code
        except httpx.ConnectError:
            return None

    def signal(self, number: signal.Signals) -> None:
        self.running.send_signal(number)

    def end(self) -> tuple[int, str, str]:
        """Its exit status, and what it wrote."""
        out, log = self.running.communicate(timeout=PATIENCE)
        return self.running.returncode, out, log


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    started: list[Process] = []

    def begin(*options: str, **how: Any) -> Process:
        started.append(Process("--port", "0", *options, **how))
        return started[-1]

    yield begin
    for process in started:
        process.running.kill()
        process.running.communicate()


Start = Callable[..., Process]


def test_it_says_that_it_is_loading_then_how_to_reach_it(start: Start, tmp_path: Path) -> None:
    process = start("--alias", "small", loaded=tmp_path / "loaded")
    for path, method in (("/health", "GET"), ("/v1/models", "GET"), ("/v1/completions", "POST")):
        refused = httpx.request(method, process.url + path, json={} if method == "POST" else None)
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "loading"
        assert refused.headers["retry-after"] == "1"
    assert "heron_ready 0.0" in httpx.get(f"{process.url}/metrics").text
    (tmp_path / "loaded").touch()
    until(lambda: process.health() == 200)
    assert httpx.get(f"{process.url}/v1/models").json()["data"][0]["id"] == "small"
    process.signal(signal.SIGTERM)
    status, out, _ = process.end()
    assert status == 0
    for said in ("Heron", process.url, "pocket.gguf", "KV cache", "8 at once", f"curl {process.url}/v1/"):
        assert said in out
    curl = re.search(r"curl \S+ -H '(\S+: \S+)' -d '(.*)'$", out, re.MULTILINE)
    assert curl is not None
    assert json.loads(curl.group(2))["model"] == "small"


def test_a_signal_while_it_loads_ends_it(start: Start, tmp_path: Path) -> None:
    process = start(loaded=tmp_path / "never")
    process.signal(signal.SIGINT)
    assert process.end()[0] == 0


def lines_of(process: Process, response: httpx.Response) -> Iterator[str]:
    assert response.status_code == 200
    for line in response.iter_lines():
        if line.startswith("data: "):
            yield line[6:]


def test_sigterm_lets_streams_end_and_takes_nothing_new(start: Start) -> None:
    process = start(stepping=0.01)
    with httpx.stream("POST", f"{process.url}/v1/completions", json=LONG | {"max_tokens": 100}) as response:
        lines = lines_of(process, response)
        next(lines)
        process.signal(signal.SIGTERM)
        until(lambda: process.health() == 503)
        refused = httpx.post(f"{process.url}/v1/completions", json=LONG)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
        assert int(refused.headers["retry-after"]) > 0
        left = list(lines)
    assert left[-1] == "[DONE]"
    assert json.loads(left[-2])["choices"][0]["finish_reason"] == "length"
    assert len(left) >= 90
    assert process.end()[0] == 0


def test_what_takes_longer_than_the_drain_timeout_ends_with_an_error(start: Start) -> None:
    process = start("--drain-timeout", "0.3", stepping=0.01)
    with httpx.stream("POST", f"{process.url}/v1/completions", json=LONG) as response:
        lines = lines_of(process, response)
        next(lines)
        process.signal(signal.SIGTERM)
        left = list(lines)
    assert left[-1] == "[DONE]"
    assert json.loads(left[-2])["error"]["code"] == "closing"
    assert process.end()[0] == 0


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_stops_at_once(start: Start, second: signal.Signals) -> None:
    process = start(stepping=0.01)
    with httpx.stream("POST", f"{process.url}/v1/completions", json=LONG) as response:
        lines = lines_of(process, response)
        next(lines)
        process.signal(signal.SIGTERM)
        until(lambda: process.health() == 503)
        begin = time.monotonic()
        process.signal(second)
        status, _, log = process.end()
        assert time.monotonic() - begin < 10  # of the thirty seconds that it had
        with pytest.raises(httpx.TransportError):
            list(lines)
    assert status == 128 + second
    assert "Traceback" not in log


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "heron", "serve", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, env=env, timeout=PATIENCE)


def test_a_port_in_use_is_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        failed = run(pocket.path(), "--port", str(port))
    assert failed.returncode == 2
    assert failed.stderr == f"heron: error: port {port} on 127.0.0.1 is in use; give another one with --port (0: any that is free)\n"


def test_a_model_that_cannot_be_loaded_ends_the_server(tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + b"\x00" * 100)
    failed = run(broken, "--port", "0", "--log-level", "warning")
    assert failed.returncode == 2
    assert failed.stderr.startswith("heron: error: ")
    assert failed.stderr.count("\n") == 1


def test_usage_that_is_wrong(tmp_path: Path) -> None:
    for options, said in (
        ([tmp_path / "absent.gguf"], "no model"),
        ([pocket.path(), "--api-key", ""], "empty"),
        ([pocket.path(), "--log-format", "xml"], "xml"),
        ([pocket.path(), "--host", "no.such.host.invalid"], "no address"),
    ):
        failed = run(*options)
        assert failed.returncode == 2
        assert said in failed.stderr
        assert failed.stderr.count("\n") == 1


#: What a program of one's own has.
OWN = """
import gc, os, signal, time
from pathlib import Path
from heron.server import running
from heron.server.catalog import Catalog, Entry
from heron.server.listening import listen
from heron.server.pool import Pool
from heron.server.settings import Settings
from heron.server.state import ServerState

def serve(entries, load, ready):
    running.serve(ServerState(Settings(), Pool(Catalog(lambda: entries), load)), listen("127.0.0.1", 0), ready)
"""

#: Says how much of what there is is not looked at for garbage when the server is ready.
FROZEN = """
def ready():
    print(gc.get_freeze_count() / (gc.get_freeze_count() + len(gc.get_objects())), flush=True)
    os._exit(0)

serve([], lambda entry, sizes: None, ready)
"""

#: Is told to stop in the midst of loading a model, and says how it goes.
STUCK = """
def load(entry, sizes):
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(600)

leave = running._leave
running._leave = lambda status: (print("it left", flush=True), leave(status))
serve([Entry(("m",), Path("m.gguf"), pinned=True)], load, lambda: None)
"""


def own(program: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run([sys.executable, "-c", OWN + program], capture_output=True, text=True, env=env, timeout=PATIENCE)


def test_collecting_garbage_leaves_the_program_alone() -> None:
    """Libraries are so many objects that every unloading held all streams up for a fifth of a second."""
    found = own(FROZEN)
    assert float(found.stdout) > 0.9, found.stderr


def test_threads_that_load_are_not_ended_one_by_one() -> None:
    """Python would end while they are in the midst of native code."""
    found = own(STUCK)
    assert (found.returncode, found.stdout) == (0, "it left\n"), found.stderr
