"""For everybody: axe finds nothing serious in either theme, on a desk or a phone; the keyboard reaches what a pointer does."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_server import Fake, delta, saying
from page_reader import LONGEST, asked, go

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

expect.set_options(timeout=LONGEST)

AXE = Path(__file__).resolve().parents[2] / "web/node_modules/axe-core/axe.min.js"

RICH = """# A heading

Some `code`, a [link](https://example.org), **bold** and a list:

- [x] done
- [ ] to do

| name | value |
|---|---:|
| a | 1 |

> A quote.

```python
# a comment
def area(r: float) -> float:
    return 3.14 * r ** 2  # "text"
```
"""

#: What is open, and how it is reached.
STATES: dict[str, Callable[[Page], Any]] = {
    "chat": lambda page: None,
    "settings": lambda page: page.keyboard.press("Control+,"),
    "inspector": lambda page: page.keyboard.press("Control+i"),
    "palette": lambda page: page.keyboard.press("Control+k"),
    "menu": lambda page: page.get_by_role("button", name="Model:").click(),
}


def complaints(page: Page) -> list[str]:
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [
        f"{one['id']}: {node['target']} {node['failureSummary']}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"]
    ]


@pytest.mark.skipif(not AXE.exists(), reason="no axe: `npm ci` in web/")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 390])
def test_axe_finds_nothing_serious(page: Page, fake: Fake, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.set_viewport_size({"width": width, "height": 844})
    fake.answer = lambda body: [delta(reasoning_content="Let me think."), *saying(RICH)]
    go(page, fake.url)
    page.evaluate(AXE.read_text())
    assert complaints(page) == []
    asked(page, "Show me")
    page.locator(".hljs-keyword").first.wait_for()
    page.locator(".reasoning > button").click()
    for name, reach in STATES.items():
        reach(page)
        page.wait_for_timeout(50)
        assert (name, complaints(page)) == (name, [])
        page.keyboard.press("Escape")
        if page.locator(".panel").count():
            page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out


def test_on_a_phone_the_list_lies_over_the_page(page: Page, fake: Fake) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    go(page, fake.url)
    asked(page, "Hello")
    sidebar = page.locator(".sidebar")
    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="Conversations").click()
    expect(sidebar).to_be_visible()
    page.locator(".row-title").click()
    expect(sidebar).to_be_hidden()
    page.get_by_role("button", name="New chat", exact=True).click()
    expect(page.locator(".welcome")).to_be_visible()


def test_the_theme_is_the_systems_until_one_is_chosen(page: Page, fake: Fake) -> None:
    def paper() -> str:
        found: str = page.evaluate("getComputedStyle(document.querySelector('.main')).backgroundColor")
        return found

    page.emulate_media(color_scheme="dark")
    go(page, fake.url)
    dark = paper()
    page.emulate_media(color_scheme="light")
    light = paper()
    assert dark != light
    page.get_by_role("button", name="Theme").click()
    page.get_by_role("button", name="Theme: light").click()
    assert paper() == dark
    page.reload()
    assert paper() == dark


def test_keys(page: Page, fake: Fake) -> None:
    go(page, fake.url)
    question = page.locator("#question")
    expect(question).to_be_focused()
    page.keyboard.type("one")
    page.keyboard.press("Shift+Enter")
    page.keyboard.type("two")
    assert question.input_value() == "one\ntwo" and not fake.asked
    question.fill("")
    question.blur()
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    expect(question).to_be_focused()
    page.keyboard.press("Control+b")
    expect(page.locator(".sidebar")).to_be_hidden()
    page.keyboard.press("Control+b")
    expect(page.locator(".sidebar")).to_be_visible()


def test_code_is_copied(page: Page, fake: Fake) -> None:
    fake.answer = lambda body: saying(RICH)
    go(page, fake.url)
    asked(page, "Show me")
    page.get_by_role("button", name="Copy code").click()
    expect(page.get_by_role("button", name="Copy code")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()").startswith("# a comment\ndef area")
