"""Servers that are away, busy, locked or break off."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from fake_server import CUT, Fake, delta, saying
from page_reader import LONGEST, ask, asked, go

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

expect.set_options(timeout=LONGEST)


@pytest.mark.parametrize("end", [CUT, {"error": {"message": "the engine failed", "code": None}}], ids=["cut", "error"])
def test_what_came_of_an_answer_stays(page: Page, fake: Fake, end: object) -> None:
    fake.answer = lambda body: [delta(content="So far, "), delta(content="so good"), end]
    go(page, fake.url)
    ask(page, "Hello")
    expect(page.locator(".answer .prose")).to_have_text("So far, so good")
    expect(page.locator(".trouble")).to_contain_text("cut off")
    if end is not CUT:
        expect(page.locator(".trouble")).to_contain_text("the engine failed")
    page.reload()
    expect(page.locator(".answer .prose")).to_have_text("So far, so good")
    fake.answer = lambda body: saying("All of it")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".answer .prose")).to_have_text("All of it")
    expect(page.locator(".pager")).to_have_text("2/2")


@pytest.mark.parametrize(("status", "code"), [(429, "queue_full"), (503, "loading")])
def test_a_busy_server_is_asked_again_when_it_says(page: Page, fake: Fake, status: int, code: str) -> None:
    fake.refusals = [(status, code, {"retry-after": "1"})]
    go(page, fake.url)
    ask(page, "Hello")
    expect(page.locator(".waiting")).to_contain_text("Trying again")
    expect(page.locator(".answer .prose")).to_have_text("Hello there")
    assert len(fake.asked) == 2 and page.locator(".trouble").count() == 0


def test_waiting_can_be_given_up(page: Page, fake: Fake) -> None:
    fake.refusals = [(429, "queue_full", {"retry-after": "1000"})]
    go(page, fake.url)
    ask(page, "Hello")
    page.get_by_role("button", name="Give up").click()
    expect(page.locator(".answer .aside")).to_have_text("Stopped.")


def test_what_is_wrong_is_said(page: Page, fake: Fake) -> None:
    fake.refusals = [(400, "context_length_exceeded", {})]
    go(page, fake.url)
    ask(page, "Hello")
    expect(page.locator(".trouble")).to_contain_text("refused with 400")
    page.get_by_role("button", name="Retry").click()
    expect(page.locator(".answer .prose")).to_have_text("Hello there")
    assert page.locator(".pager").count() == 0  # nothing came of the first


def test_away_and_back(page: Page, fake: Fake) -> None:
    go(page, fake.url)
    asked(page, "Before")
    fake.stop()
    ask(page, "In between")
    expect(page.locator(".banner.away")).to_be_visible()
    expect(page.locator(".waiting")).to_contain_text("Waiting for the server")
    fake.start()
    expect(page.locator(".answer .prose")).to_have_text(["Hello there", "Hello there"])
    expect(page.locator(".banner")).to_have_count(0)


def test_a_server_that_wants_a_key(page: Page, fake: Fake) -> None:
    fake.key = "open sesame"
    go(page, fake.url)
    dialog = page.get_by_role("dialog", name="API key")
    dialog.get_by_label("Key").fill("wrong")
    dialog.get_by_role("button", name="Save").click()
    expect(page.locator(".banner.locked")).to_be_visible()
    page.get_by_role("button", name="Enter a key").click()
    expect(dialog).to_contain_text("does not know this key")
    dialog.get_by_label("Key").fill("open sesame")
    page.keyboard.press("Enter")
    expect(page.locator(".banner")).to_have_count(0)
    asked(page, "Hello")
    page.reload()
    expect(page.locator(".model-name")).to_have_text("alpha")
    fake.key = "another"
    ask(page, "Hello again")
    expect(dialog).to_be_visible()


def test_leaving_in_the_midst_keeps_what_came(page: Page, fake: Fake) -> None:
    gate = threading.Event()

    def endless(body: dict[str, Any]) -> Iterator[Any]:
        yield delta(content="The beginning")
        gate.wait(30)

    fake.answer = endless
    go(page, fake.url)
    ask(page, "Hello")
    expect(page.locator(".answer")).to_contain_text("The beginning")
    page.wait_for_timeout(2000)  # what came is written down every second
    page.reload()
    gate.set()
    expect(page.locator(".answer .prose")).to_have_text("The beginning")
    expect(page.locator(".trouble")).to_contain_text("cut off")


def test_where_nothing_can_be_kept_it_says_so_and_works(page: Page, fake: Fake) -> None:
    page.add_init_script("IDBObjectStore.prototype.put = () => { throw new DOMException('no room', 'QuotaExceededError') }")
    go(page, fake.url)
    asked(page, "Hello")
    expect(page.locator(".notice.error")).to_contain_text("no room left")
    asked(page, "Hello again")
