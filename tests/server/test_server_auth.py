"""Keys: without the right one nothing answers but /health and what there is to read, however its path is written."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from http_serving import Served, serving, status

from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import RequestError
from heron.server.auth import all_keys
from heron.server.settings import Settings


@pytest.fixture(scope="module")
def served(model: Model) -> Iterator[Served]:
    with serving(Engine(model), Settings(api_keys=("first", "zweite-ü"))) as running:
        yield running


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer first"},
        {"authorization": "bearer  first"},
        {"authorization": "Bearer zweite-ü".encode()},
        {"x-api-key": "first"},
        {"x-api-key": "first", "authorization": "Bearer somebody-else's"},
    ],
    ids=str,
)
def test_a_right_key_opens(served: Served, headers: dict[str, str]) -> None:
    assert served.get("/v1/models", headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [{}, {"authorization": "first"}, {"authorization": "Basic first"}, {"x-api-key": "firs"}, {"x-api-key": ""}, {"cookie": "first"}],
    ids=str,
)
def test_nothing_else_does(served: Served, headers: dict[str, str]) -> None:
    refused = served.get("/v1/models", headers=headers)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert refused.json()["error"]["code"] == "invalid_api_key"


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models",
        "//v1/models",
        "/v1//models",
        "/v1/models/",
        "/%76%31/models",
        "/v1/../v1/models",
        "/health/../v1/models",
        "/v1/models?x=/health",
        "/v1/models#/health",
        "/v1/models;/health",
        "//health",
        "/health/",
        "/%68ealth",
        "/metrics",
        "//docs",
        "/docs/",
        "/docs/../v1/models",
        "/openapi.json/",
        "/nowhere",
        "http://localhost/v1/models",
        "http://evil/v1/models?/health",
    ],
)
@pytest.mark.parametrize("host", ["localhost", "evil/health", "localhost/health?", "/health"])
def test_a_path_written_in_another_way_is_closed(served: Served, target: str, host: str) -> None:
    answer = served.say(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nX-Forwarded-Host: a/health\r\nConnection: close\r\n\r\n".encode())
    assert status(answer) == 401


@pytest.mark.parametrize("target", ["/health", "http://evil/health", "/health?x=1"])
def test_health_is_open(served: Served, target: str) -> None:
    assert status(served.say(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())) == 200


@pytest.mark.parametrize("target", ["/docs", "/openapi.json"])
def test_what_there_is_to_read_is_open_to_browsers(served: Served, target: str) -> None:
    """And says nothing of this server: it is what any other one says."""
    opened = served.get(target)
    assert opened.status_code == 200
    assert "pocket.gguf" not in opened.text and served.url not in opened.text and "zweite" not in opened.text


def test_without_a_key_a_body_is_not_read(served: Served) -> None:
    begin = time.monotonic()
    head = b"POST /test/echo HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 100000\r\nConnection: close\r\n\r\n"
    assert status(served.say(head)) == 401
    assert time.monotonic() - begin < 5


def test_keys_come_from_a_file_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "keys"
    file.write_text("# of the team\n  one  \n\ntwo\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert all_keys(["zero "], file) == all_keys(["zero "], Path("~/keys")) == ("zero", "one", "two")
    file.write_text("# none yet\n")
    with pytest.raises(RequestError, match="holds none"):
        all_keys([], file)
    with pytest.raises(RequestError, match="cannot be read"):
        all_keys([], tmp_path / "absent")
    with pytest.raises(RequestError, match="is empty"):
        all_keys(["  "], None)
