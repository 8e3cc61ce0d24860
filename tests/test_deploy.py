"""The files that deploy Heron: what they promise, and that what they name is there."""

from __future__ import annotations

import configparser
import json
import re
import shlex
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from heron import pocket
from heron.cli import COMMANDS, reference
from heron.config import BY_NAME, DEFAULTS, SETTINGS
from heron.server.running import LAST_WORDS
from heron.server.settings import Limits

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILES = [ROOT / "docker" / "Dockerfile", ROOT / "docker" / "Dockerfile.cuda"]
PORT = BY_NAME["server.port"].default
#: Seconds that a server may take to stop by itself, and a request at most.
STOPS = DEFAULTS["server.drain_timeout_secs"] + LAST_WORDS
REQUEST = DEFAULTS["server.request_timeout_secs"]


def seconds(text: str) -> float:
    number, unit = re.fullmatch(r"(\d+)([smh]?)", text).groups()  # type: ignore[union-attr]
    return int(number) * {"": 1, "s": 1, "m": 60, "h": 3600}[unit]


def known(words: list[str]) -> bool:
    """Whether `heron` has the command, and the command all options."""
    made = reference.group().get_command(None, words[0])
    options = {name for each in made.params for name in (*each.opts, *each.secondary_opts)}
    return words[0] in COMMANDS and {word for word in words if word.startswith("-")} <= options


def instructions(path: Path) -> list[list[str]]:
    """The final image's instructions, each with its words."""
    text = re.sub(r"^#.*\n", "", path.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    lines = [line.split(None, 1) for line in text.splitlines() if line.strip()]
    last = max(at for at, line in enumerate(lines) if line[0] == "FROM")
    return lines[last:]


def said(path: Path, instruction: str) -> list[str]:
    return [words for name, words in instructions(path) if name == instruction]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images(path: Path) -> None:
    user = said(path, "USER")
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", user[-1]) and f"--uid {user[-1].split(':')[0]} " in path.read_text()
    assert said(path, "ENTRYPOINT") == ['["heron"]'] and said(path, "STOPSIGNAL") == ["SIGTERM"]
    command = json.loads(said(path, "CMD")[-1])
    assert known(command) and command == ["serve", "--host", "0.0.0.0"]
    assert said(path, "EXPOSE") == [str(PORT)] and said(path, "VOLUME") == ["/data"]
    assert "HF_HOME=/data" in said(path, "ENV")[0] and "from heron import _core" in path.read_text()
    assert not any("g++" in words for words in said(path, "RUN"))
    (health,) = said(path, "HEALTHCHECK")
    assert "/health" in health and f"'{PORT}'" in health and "HERON_SERVER_PORT" in health
    assert "--stop-timeout 45" in path.read_text() and STOPS < 45


def copied(path: Path) -> set[str]:
    lines = re.findall(r"^COPY (?!--from)(.+)$", path.read_text(), re.MULTILINE)
    return {word for line in lines for word in line.split()[:-1]}


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.name)
def test_images_are_built_of_what_is_there(path: Path) -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignored[1] == "*" and {line[1:] for line in ignored if line.startswith("!")} == copied(path)
    assert not [name for name in copied(path) if not (ROOT / name).exists()]


def test_the_torch_of_the_image_is_the_one_that_heron_asks_for() -> None:
    (torch,) = re.findall(r'^ARG TORCH="(.+)"', DOCKERFILES[1].read_text(), re.MULTILINE)
    assert f'\ntorch = ["torch{torch}"]\n' in (ROOT / "pyproject.toml").read_text()


def compose() -> dict[str, Any]:
    yaml = pytest.importorskip("yaml")
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker" / "docker-compose.yml").read_text())
    return loaded


@pytest.mark.parametrize("name", ["heron", "heron-gpu"])
def test_services_of_compose(name: str) -> None:
    whole = compose()
    service = whole["services"][name]
    assert service["read_only"] and service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"]
    assert service["user"] == said(DOCKERFILES[0], "USER")[-1] and service["pids_limit"] and service["mem_limit"]
    assert service["restart"] == "unless-stopped" and known(service["command"])
    (published,) = service["ports"]
    assert published == f"${{PUBLISH_ADDRESS:-127.0.0.1}}:${{PUBLISH_PORT:-{PORT}}}:{PORT}"
    assert service["environment"]["HERON_SERVER_PORT"] == str(PORT)
    assert seconds(service["stop_grace_period"]) > STOPS
    assert f"127.0.0.1:{PORT}/health" in service["healthcheck"]["test"][-1]
    assert [volume.split(":")[0] for volume in service["volumes"]] == list(whole["volumes"]) and service["tmpfs"][0].startswith("/tmp:")
    assert (ROOT / "docker" / service["build"]["context"] / service["build"]["dockerfile"]).is_file()
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    assert [device["capabilities"] for device in devices] == ([["gpu"]] if name == "heron-gpu" else [])


def test_the_example_of_variables() -> None:
    text = (ROOT / "docker" / ".env.example").read_text()
    names = set(re.findall(r"^(?:# )?([A-Z_]+)=", text, re.MULTILINE))
    asked = set(re.findall(r"\$\{(\w+)", (ROOT / "docker" / "docker-compose.yml").read_text()))
    settings = {variable for setting in SETTINGS for variable in (setting.variable, *setting.variables)}
    assert asked <= names and {name for name in names - asked if name.startswith("HERON_")} <= settings
    assert {profile for service in compose()["services"].values() for profile in service["profiles"]} == {"cpu", "gpu"}
    assert "\nPUBLISH_ADDRESS=127.0.0.1\n" in text and "\nHERON_API_KEY=\n" in text and "\nHF_TOKEN=\n" in text


def test_the_unit_of_systemd() -> None:
    unit = configparser.ConfigParser(strict=False, interpolation=None)
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "heron.service")
    service = unit["Service"]
    program, *words = shlex.split(service["ExecStart"])
    assert program == "/opt/heron/bin/heron" and known(words)
    assert service["DynamicUser"] == "yes" and service["NoNewPrivileges"] == "yes" and service["CapabilityBoundingSet"] == ""
    assert (
        service["ProtectSystem"] == "strict" and service["StateDirectory"] == "heron" and "HF_HOME=/var/lib/heron" in service["Environment"]
    )
    assert seconds(service["TimeoutStopSec"]) > STOPS and service["Restart"] == "on-failure" and int(service["LimitNOFILE"]) >= 65536
    assert {"AF_INET", "AF_INET6", "AF_UNIX"} == set(service["RestrictAddressFamilies"].split())
    assert service.get("ProcSubset", "all") == "all"  # /proc/meminfo and /proc/cpuinfo are read


def test_proxies_give_what_the_server_does() -> None:
    nginx, caddy = (ROOT / "deploy" / "nginx.conf").read_text(), (ROOT / "deploy" / "Caddyfile").read_text()
    mebibytes = Limits().body_bytes >> 20
    assert f"client_max_body_size {mebibytes}m;" in nginx and f"max_size {mebibytes}MiB" in caddy
    assert "proxy_buffering off;" in nginx and "flush_interval -1" in caddy
    assert seconds(re.findall(r"proxy_read_timeout (\w+);", nginx)[0]) > REQUEST
    assert seconds(re.findall(r"response_header_timeout (\w+)", caddy)[0]) > REQUEST
    assert all(f"127.0.0.1:{PORT}" in text and "/metrics" in text for text in (nginx, caddy))


def test_what_the_page_says_of_commands_and_paths() -> None:
    page = (ROOT / "docs" / "deploy.md").read_text()
    for line in re.findall(r"heron(?:/bin/heron)? ((?:pull|plan|serve|doctor)\b[^`\n]*)", page):
        assert known(line.split("#")[0].split()), line
    variables = set(re.findall(r"\bHERON_[A-Z_]+", page))
    settings = {variable for setting in SETTINGS for variable in (setting.variable, *setting.variables)}
    assert variables - {"HERON_SECTION_KEY"} <= settings
    assert set(re.findall(r"`((?:server|inference)\.\w+)`", page)) <= set(BY_NAME)
    assert re.findall(r"terminationGracePeriodSeconds: (\d+)", page) == ["45"] and f"({STOPS - LAST_WORDS:.0f})" in page


# Real proxies, where they are installed.


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port: int = bound.getsockname()[1]
        return port


@contextmanager
def running(*line: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(list(map(str, line)), stdin=subprocess.DEVNULL, cwd=ROOT)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(60)


class Proxied:
    """A proxy with TLS before a real server of the pocket model that computes one request at a time and lets one wait."""

    def __init__(self, port: int, certificate: Path) -> None:
        self.address, self.name = ("127.0.0.1", port), "heron.example.com"
        self._context = ssl.create_default_context(cafile=str(certificate))

    def send(self, head: str, body: bytes = b"") -> ssl.SSLSocket:
        connected = self._context.wrap_socket(socket.create_connection(self.address, timeout=120), server_hostname=self.name)
        length = f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n" if body else ""
        with suppress(OSError):  # who refuses a body need not read it
            connected.sendall(f"{head} HTTP/1.1\r\nHost: {self.name}\r\nConnection: close\r\n{length}\r\n".encode() + body)
        return connected

    def chat(self, **more: Any) -> ssl.SSLSocket:
        body = {"messages": [{"role": "user", "content": "What can you do?"}], "ignore_eos": True, "temperature": 0, **more}
        return self.send("POST /v1/chat/completions", json.dumps(body).encode())

    @staticmethod
    def rest(connected: ssl.SSLSocket) -> bytes:
        with connected:
            return b"".join(iter(lambda: connected.recv(65536), b""))


def nginx(folder: Path, port: int, upstream: int) -> list[str | Path]:
    site = (ROOT / "deploy" / "nginx.conf").read_text()
    site = re.sub(r"listen (\[::\]:)?443", lambda found: f"listen {found[1] or '127.0.0.1:'}{port}", site)
    site = site.replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{upstream}").replace("/etc/ssl/heron/fullchain.pem", f"{folder}/cert.pem")
    site = site.replace("/etc/ssl/heron/privkey.pem", f"{folder}/key.pem")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "\n".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    whole = f"daemon off; error_log stderr; pid {folder}/pid; events {{}} http {{ access_log off; {places}\n{site} }}"
    (folder / "nginx.conf").write_text(whole)
    return ["nginx", "-e", "stderr", "-p", folder, "-c", folder / "nginx.conf"]


def caddy(folder: Path, port: int, upstream: int) -> list[str | Path]:
    site = (ROOT / "deploy" / "Caddyfile").read_text().replace(f"127.0.0.1:{PORT}", f"127.0.0.1:{upstream}")
    site = site.replace(
        "heron.example.com {", f"heron.example.com:{port} {{\n\tbind 127.0.0.1\n\ttls {folder}/cert.pem {folder}/key.pem", 1
    )
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + site)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", folder / "Caddyfile"]


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxied(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxied]:
    if not (shutil.which(request.param) and shutil.which("openssl")):
        pytest.skip(f"{request.param} or openssl is not installed")
    folder, port, upstream = tmp_path_factory.mktemp(request.param), free_port(), free_port()
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", "-subj", "/CN=heron.example.com"]
    made += ["-addext", "subjectAltName=DNS:heron.example.com", "-keyout", f"{folder}/key.pem", "-out", f"{folder}/cert.pem"]
    subprocess.run(made, check=True, capture_output=True)
    serve = [sys.executable, "-m", "heron", "serve", pocket.path(), "--port", str(upstream), "-np", "1", "--max-queue", "1"]
    with ExitStack() as around:
        around.enter_context(running(*serve, "--log-level", "warning"))
        around.enter_context(running(*{"nginx": nginx, "caddy": caddy}[request.param](folder, port, upstream)))
        for address in (f"http://127.0.0.1:{upstream}/health", f"tcp:{port}"):
            wait_for(address)
        yield Proxied(port, folder / "cert.pem")


def wait_for(address: str) -> None:
    for _ in range(600):
        try:
            if address.startswith("tcp:"):
                socket.create_connection(("127.0.0.1", int(address[4:]))).close()
            else:
                urllib.request.urlopen(address, timeout=5).close()
            return
        except (OSError, urllib.error.URLError):
            time.sleep(0.2)
    raise AssertionError(f"nobody answers at {address}")


@pytest.mark.slow
def test_events_come_through_a_proxy_as_they_are_made(proxied: Proxied) -> None:
    """A proxy that gathers events sends them in a few records, as large as TLS has them."""
    with proxied.chat(stream=True, max_tokens=400) as connected:
        parts = list(iter(lambda: connected.recv(65536), b""))
    whole = b"".join(parts)
    assert b" 200 OK" in whole[:20] and b"text/event-stream" in whole and b"data: [DONE]" in whole
    assert whole.count(b"data: {") >= 400
    assert len(parts) > 100, "events came in lumps"


@pytest.mark.slow
def test_refusals_come_through_a_proxy(proxied: Proxied) -> None:
    large = Proxied.rest(proxied.send("POST /v1/chat/completions", b'{"messages": "' + b"x" * (Limits().body_bytes + 10) + b'"}'))
    assert b" 413 " in large[:20]
    with ExitStack() as held:
        waiting = [held.enter_context(proxied.chat(stream=True, max_tokens=450, n=1)) for _ in range(2)]
        refused = b""
        for _ in range(20):
            refused = Proxied.rest(proxied.chat(max_tokens=1))
            if b" 429 " in refused[:20]:
                break
        assert waiting and b" 429 " in refused[:20] and b"etry-" in refused and b'"queue_full"' in refused
    assert b" 404 " in Proxied.rest(proxied.send("GET /metrics"))[:20]
    assert b'{"status":"ok"}' in Proxied.rest(proxied.send("GET /health"))
