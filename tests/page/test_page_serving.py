"""The page's files: who gets them, with which headers, and that nothing else is served."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from http_serving import PATIENCE, Served, serving, status

from heron.server import page
from heron.server.settings import Settings


@pytest.fixture(scope="module")
def locked() -> Iterator[Served]:
    """A server that wants a key, and has no model yet."""
    with serving(None, Settings(api_keys=("secret",))) as running:
        yield running


def assets(served: Served) -> list[str]:
    return re.findall(r'(?:src|href)="(/assets/[^"]+)"', served.get("/").text)


def test_it_needs_no_key_and_no_model(locked: Served) -> None:
    answer = locked.get("/")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    found = assets(locked)
    assert any(name.endswith(".js") for name in found) and any(name.endswith(".css") for name in found)
    for name in [*found, "/theme.js", "/favicon.svg"]:
        assert locked.get(name).status_code == 200
    assert locked.get("/v1/models").status_code == 401
    assert locked.get("/v1/models", headers={"x-api-key": "secret"}).json()["error"]["code"] == "loading"


def test_nothing_else_may_run_or_be_asked(locked: Served) -> None:
    for path in ("/", *assets(locked)):
        told = locked.get(path).headers
        rules = dict(rule.split(" ", 1) for rule in told["content-security-policy"].split("; "))
        assert rules["default-src"] == "'self'" and rules["frame-ancestors"] == "'none'" and rules["base-uri"] == "'none'"
        assert rules["require-trusted-types-for"] == "'script'" and rules["trusted-types"] == "'none'"
        assert not {"script-src", "style-src", "connect-src", "img-src"} & rules.keys()  # nothing is wider than the default
        assert told["x-content-type-options"] == "nosniff" and told["referrer-policy"] == "no-referrer"


def test_there_is_nothing_inline_and_nothing_from_elsewhere(locked: Served) -> None:
    html = locked.get("/").text
    assert all("src=" in script for script in re.findall(r"<script[^>]*>", html))
    assert not re.search(r"<style|\son\w+=|style=", html)
    assert not re.search(r'(?:src|href)="(?!/)', html)
    for name in assets(locked):
        assert "url(http" not in locked.get(name).text and "@import" not in locked.get(name).text


def test_what_has_a_digest_in_its_name_is_kept_for_ever(locked: Served) -> None:
    assert all("immutable" in locked.get(name).headers["cache-control"] for name in assets(locked))
    assert locked.get("/").headers["cache-control"] == "no-cache"


def test_who_has_it_is_told_so(locked: Served) -> None:
    for encoding in ("identity", "gzip"):
        first = locked.get("/", headers={"accept-encoding": encoding})
        again = locked.get("/", headers={"accept-encoding": encoding, "if-none-match": f'"other", W/{first.headers["etag"]}'})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"] and "content-security-policy" in again.headers
        assert locked.get("/", headers={"accept-encoding": encoding, "if-none-match": '"other"'}).status_code == 200


@pytest.mark.parametrize(
    ("accepted", "zipped"), [("gzip, br", True), ("gzip;q=0.5", True), ("gzip;q=0", False), ("br", False), ("identity", False)]
)
def test_it_is_compressed_for_those_who_can_read_that(locked: Served, accepted: str, zipped: bool) -> None:
    with httpx.stream("GET", f"{locked.url}/", headers={"accept-encoding": accepted}, timeout=PATIENCE) as answer:
        raw = b"".join(answer.iter_raw())
        assert (answer.headers.get("content-encoding") == "gzip") is zipped
        assert answer.headers["vary"] == "accept-encoding"
    assert (gzip.decompress(raw) if zipped else raw) == (page.FOLDER / "index.html").read_bytes()


def test_head_is_get_without_the_body(locked: Served) -> None:
    for path in ("/", assets(locked)[0]):
        whole, head = locked.get(path), httpx.head(locked.url + path, timeout=PATIENCE)
        assert head.status_code == 200 and head.content == b""
        for name in ("content-length", "etag", "content-type", "content-security-policy"):
            assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    "target",
    [
        "/../server/page.py",
        "/assets/../../server/page.py",
        "/assets/..%2f..%2fserver/page.py",
        "/%2e%2e/server/page.py",
        "/assets/%2e%2e/index.html",
        "/..\\server\\page.py",
        "//etc/passwd",
        "/assets//etc/passwd",
        "/assets/",
        "/assets",
        "/index.html",
        "/sources.sha256",
        "/%00",
        "/.",
        "/?/../server/page.py%00",
    ],
)
def test_no_path_leads_out(locked: Served, target: str) -> None:
    answer = locked.say(f"GET {target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    if target.startswith("/?"):  # the page, whatever it is asked
        assert status(answer) == 200 and b"<title>Heron</title>" in answer
    else:
        assert status(answer) in (400, 401) and b"from __future__" not in answer and b"root:" not in answer


def test_other_methods_are_the_apis(locked: Served) -> None:
    assert httpx.post(f"{locked.url}/", json={}, timeout=PATIENCE).status_code == 401


def test_it_can_be_left_out() -> None:
    with serving(None, Settings(page=False)) as served:
        answer = served.get("/")
        assert answer.status_code == 503 and answer.json()["error"]["code"] == "loading"


def test_where_it_is_not_built_it_says_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "FOLDER", tmp_path)
    with serving(None) as served:
        answer = served.get("/")
        assert answer.status_code == 404 and answer.headers["content-type"].startswith("text/plain")
        assert "make web" in answer.text
