"""Servers of the model that answers in milliseconds, and a browser that is driven: tests that need one skip where there is none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from fake_server import Fake
from http_serving import Served, serving
from page_reader import LONGEST

import heron
from heron import pocket
from heron.engine.engine import Engine

if TYPE_CHECKING:
    from playwright.sync_api import Browser, ConsoleMessage, Page

#: As distributions call it.
CHROMIUM = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with serving(Engine(heron.load(pocket.path(), threads=1))) as running:
        yield running


@pytest.fixture
def fake() -> Iterator[Fake]:
    with Fake() as running:
        yield running


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright: pip install -e '.[browser]'")
    path = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if path is None:
        pytest.skip("no Chromium is installed")
    with playwright.sync_playwright() as driver:
        launched = driver.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"], timeout=LONGEST)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page of a browser that has seen nothing. Whatever a test does with it, nothing fails in it, and it asks its server alone."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900}, reduced_motion="reduce", permissions=["clipboard-read", "clipboard-write"]
    )
    context.set_default_timeout(LONGEST)
    opened = context.new_page()
    wrong: list[str] = []
    hosts: set[str] = set()

    def said(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not message.text.startswith("Failed to load resource"):  # which servers' refusals are
            wrong.append(message.text)

    opened.on("console", said)
    opened.on("pageerror", lambda error: wrong.append(str(error)))
    context.on("request", lambda request: hosts.add(request.url.split("/")[2]) if not request.url.startswith("blob:") else None)
    yield opened
    here = opened.url.split("/")[2] if "//" in opened.url else ""
    context.close()
    assert not wrong
    assert hosts <= {here}
