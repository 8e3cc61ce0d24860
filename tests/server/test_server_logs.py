"""The log: lines with ids, as text and as JSON, and never what users say or their keys."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
from http_serving import Served, serving, serving_pool, until

from heron import pocket
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.errors import CheckpointError, RequestError
from heron.server import logs
from heron.server.catalog import Catalog, Entry
from heron.server.pool import Pool
from heron.server.room import Sizes
from heron.server.settings import Settings

KEY, PROMPT = "a key of mine", "my secret wish"


@pytest.fixture
def served(model: Model) -> Iterator[Served]:
    names = ("heron", "uvicorn")
    before = [(logging.getLogger(name), logging.getLogger(name).__dict__.copy()) for name in names]
    with serving(Engine(model), Settings(api_keys=(KEY,))) as running:
        yield running
    for logger, state in before:
        logger.handlers, logger.propagate = state["handlers"], state["propagate"]
        logger.setLevel(state["level"])


def ask(served: Served) -> None:
    headers = {"authorization": f"Bearer {KEY}", "x-request-id": "mine-1"}
    body = {"prompt": PROMPT, "max_tokens": 2}
    assert served.post(f"/test/answer?q={PROMPT}", json=body, headers=headers).headers["x-request-id"] == "mine-1"
    assert served.post("/test/answer", json=body, headers={"x-api-key": KEY + "x"}).status_code == 401
    assert served.post("/test/answer", json={"prompt": PROMPT, "temperature": -1}, headers=headers).status_code == 400
    assert served.get("/test/fault", headers=headers).status_code == 500
    assert served.get("/health").status_code == 200


def test_loading_a_model_is_of_no_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asked first for some model is not who all that is loaded then is for."""
    seen: list[str] = []
    only = Entry(("m",), pocket.path())

    def load(entry: Entry, sizes: Sizes) -> Engine:
        raise CheckpointError("damaged")

    monkeypatch.setattr("heron.server.pool.event", lambda *_, **__: seen.append(logs.request_id.get()))
    with serving_pool(Pool(Catalog(lambda: [only]), load)) as served:
        assert served.post("/v1/completions", json={"model": "m", "prompt": "a"}, headers={"x-request-id": "mine"}).status_code == 503
    assert seen == [""]


def test_json_lines(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    ask(served)
    text = ""

    def complete() -> bool:
        nonlocal text
        text += capsys.readouterr().err
        return text.count("\n") >= 5

    until(complete)
    lines = [json.loads(line) for line in text.splitlines()]
    first = lines[0]
    assert (first["level"], first["message"], first["status"]) == ("info", "POST /test/answer", 200)
    assert first["request_id"] == "mine-1"
    assert 0 < first["seconds"] < 10
    assert first["time"].endswith("Z")
    assert [line["status"] for line in lines if "status" in line] == [200, 401, 400, 500]
    fault = next(line for line in lines if line["level"] == "error")
    assert "KeyError" in fault["exception"]
    assert fault["request_id"] == "mine-1"


@pytest.mark.parametrize("form", logs.FORMATS)
@pytest.mark.parametrize("level", ["info", "debug"])
def test_no_line_holds_a_prompt_or_a_key(served: Served, capsys: pytest.CaptureFixture[str], level: str, form: str) -> None:
    logs.configure(level, form)
    ask(served)
    text = ""

    def complete() -> bool:
        nonlocal text
        text += capsys.readouterr().err
        return "500" in text

    until(complete)
    assert "mine-1" in text
    assert not any(secret in text for secret in (KEY, PROMPT, "secret%20wish", "secret+wish"))


def test_a_plain_line_is_one_line(capsys: pytest.CaptureFixture[str], served: Served) -> None:
    logs.configure("info", "plain")
    logs.event(logging.getLogger("heron.server"), logging.INFO, "GET /a\nb\x1b[31m", status=200)
    line = capsys.readouterr().err
    assert line.endswith("info    GET /a\\nb\\x1b[31m status=200\n")
    assert line.count("\n") == 1


def test_levels(capsys: pytest.CaptureFixture[str], served: Served) -> None:
    logs.configure("warning", "plain")
    ask(served)
    until(lambda: "error   a request failed" in capsys.readouterr().err)
    served.get("/v1/models")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("level", "form"), [("loud", "plain"), ("info", "xml")])
def test_what_there_is_not(level: str, form: str) -> None:
    with pytest.raises(RequestError, match=r"loud|xml"):
        logs.configure(level, form)
