"""What a reader does with the page."""

from __future__ import annotations

from typing import TYPE_CHECKING

#: Milliseconds for what comes at once where nothing is wrong, and the machine is not busy with something else.
LONGEST = 90_000

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page


def go(page: Page, url: str) -> None:
    page.goto(url, wait_until="commit")
    page.locator("#question").wait_for()


def ask(page: Page, text: str) -> None:
    page.locator("#question").fill(text)
    page.locator("#question").press("Enter")


def asked(page: Page, text: str) -> Locator:
    """Ask, and wait for the whole answer."""
    ask(page, text)
    answer = page.locator(".answer.last")
    page.locator(".question .bubble", has_text=text).last.wait_for()
    answer.locator(".figures").wait_for()
    return answer
