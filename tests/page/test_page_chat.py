"""A reader's day: ask, read, stop, ask again, edit, find, name, delete, keep."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fake_server import Fake, delta, saying
from http_serving import Served
from page_reader import LONGEST, ask, asked, go

if TYPE_CHECKING:
    from playwright.sync_api import Page

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

expect.set_options(timeout=LONGEST)


def test_ask_and_come_back(page: Page, served: Served) -> None:
    go(page, served.url)
    answer = asked(page, "What can you do for me today, and how do I ask?")
    expect(answer.locator(".prose")).to_contain_text("heron run")
    expect(answer.locator(".figures")).to_contain_text("tokens/s")
    assert (
        float(answer.locator(".figures dd", has_text="tokens/s").inner_text().split()[0].replace(",", "")) < 20_000
    )  # a speed that can be
    first = answer.locator(".prose").inner_text()
    asked(page, "And what else?")
    expect(page.locator(".figures").last).to_contain_text("cached")
    expect(page.locator(".meter-words")).to_contain_text("/")
    expect(page).to_have_title("What can you do for me today, and how do I ask? · Heron")
    page.reload()
    expect(page.locator(".answer")).to_have_count(2)
    expect(page.locator(".answer .prose").first).to_have_text(first, use_inner_text=True)
    expect(page.locator(".row.open")).to_have_text("What can you do for me today, and how do I ask?")
    page.locator(".new-chat").click()
    expect(page.locator(".welcome")).to_be_visible()
    page.go_back()
    expect(page.locator(".answer")).to_have_count(2)


def test_what_the_model_reads(page: Page, served: Served) -> None:
    go(page, served.url)
    asked(page, "How is a model loaded, and how long does that take?")
    page.keyboard.press("Control+i")
    tokens = page.locator("#tokens")
    expect(tokens).to_contain_text("<|im_start|>user")
    page.locator("#question").fill("and <|im_end|> is text")
    expect(tokens).to_contain_text("and <|im_end|> is text")
    assert page.locator(".token.cached").count() >= 16
    specials = page.locator(".token.special")
    expect(specials.filter(has_text="<|im_end|>")).to_have_count(3)
    page.get_by_role("tab", name="Token ids").click()
    expect(page.locator(".as-ids .token.special b").first).to_have_text(str(served.engine.model.tokenizer.id("<|im_start|>")))
    page.keyboard.press("Control+i")
    expect(page.locator(".inspector")).to_have_count(0)


def test_stop_again_edit(page: Page, fake: Fake) -> None:
    gate = threading.Event()

    def slowly(body: dict[str, Any]) -> Iterator[Any]:
        yield delta(content="One, two, ")
        gate.wait(30)
        yield from saying("three.")

    fake.answer = slowly
    go(page, fake.url)
    ask(page, "Count")
    expect(page.locator(".answer")).to_contain_text("One, two,")
    page.keyboard.press("Escape")
    expect(page.locator(".answer .aside")).to_have_text("Stopped.")
    gate.set()
    expect(page.locator(".answer .prose")).to_have_text("One, two,")
    fake.answer = lambda body: saying("Another one.")
    page.locator("#question").blur()
    page.keyboard.press("r")
    expect(page.locator(".answer .prose")).to_have_text("Another one.")
    expect(page.locator(".answer .pager")).to_have_text("2/2")
    page.get_by_role("button", name="Earlier version").click()
    expect(page.locator(".answer .prose")).to_have_text("One, two,")
    page.locator("#question").press("ArrowUp")
    editor = page.locator(".editor textarea")
    expect(editor).to_be_focused()
    editor.fill("Count to ten")
    editor.press("Enter")
    expect(page.locator(".bubble")).to_have_text("Count to ten")
    expect(page.locator(".question .pager")).to_have_text("2/2")
    assert [message["content"] for message in fake.asked[-1]["messages"]] == ["Count to ten"]
    page.get_by_role("button", name="Earlier version").first.click()
    expect(page.locator(".bubble")).to_have_text("Count")
    expect(page.locator(".answer .prose")).to_have_text("Another one.")  # the latest of that branch


def test_reasoning_stands_apart(page: Page, fake: Fake) -> None:
    gate = threading.Event()

    def thinking(body: dict[str, Any]) -> Iterator[Any]:
        yield delta(reasoning_content="Let me **think**.")
        gate.wait(30)
        yield from saying("Yes.")

    fake.answer = thinking
    go(page, fake.url)
    ask(page, "Is it so?")
    expect(page.locator(".reasoning-body strong")).to_have_text("think")
    gate.set()
    expect(page.locator(".answer > .prose")).to_have_text("Yes.")
    expect(page.locator(".reasoning-body")).to_have_count(0)
    page.get_by_role("button", name="Thought for").click()
    expect(page.locator(".reasoning-body")).to_have_text("Let me think.")
    page.reload()
    expect(page.get_by_role("button", name="Thought for")).to_be_visible()


def test_what_is_set_is_sent(page: Page, fake: Fake) -> None:
    go(page, fake.url)
    page.get_by_role("button", name="Model: alpha").click()
    expect(page.get_by_role("menuitemradio", name="vectors")).to_be_disabled()
    page.get_by_role("menuitemradio", name="beta").click()
    page.keyboard.press("Control+,")
    page.get_by_label("System prompt").fill("Be brief.")
    page.get_by_role("spinbutton", name="Temperature").fill("0.3")
    page.get_by_role("spinbutton", name="Max tokens").fill("50")
    page.get_by_label("Stop at").fill("END\n\nSTOP")
    asked(page, "Hello")
    body = fake.asked[-1]
    assert (body["model"], body["temperature"], body["max_tokens"], body["stop"]) == ("beta", 0.3, 50, ["END", "STOP"])
    assert body["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]
    assert body["stream"] and body["stream_options"] == {"include_usage": True} and not {"top_p", "top_k", "seed"} & body.keys()
    page.get_by_role("button", name="Clear all").click()
    asked(page, "Hello again")
    assert not {"temperature", "max_tokens", "stop"} & fake.asked[-1].keys()


def test_find_name_delete_keep(page: Page, fake: Fake, tmp_path: Path) -> None:
    go(page, fake.url)
    for text in ("About apples", "About pears"):
        asked(page, text)
        page.keyboard.press("Control+Shift+O")
    rows = page.locator(".row")
    expect(rows).to_have_count(2)
    page.get_by_role("searchbox", name="Search conversations").fill("appl")
    expect(rows).to_have_text(["About apples"])
    rows.first.locator(".row-title").focus()
    page.keyboard.press("F2")
    page.get_by_label("Name of the conversation").fill("Fruit & <b>more</b>")
    page.keyboard.press("Enter")
    expect(rows).to_have_text(["Fruit & <b>more</b>"])  # by what was said in it
    page.get_by_role("searchbox", name="Search conversations").fill("")
    rows.first.locator(".row-title").click()
    with page.expect_download() as kept:
        page.get_by_role("button", name="Export all").click()
    file = tmp_path / "all.json"
    kept.value.save_as(file)
    assert len(json.loads(file.read_text())["conversations"]) == 2
    page.get_by_role("button", name="More", exact=True).click()
    with page.expect_download() as markdown:
        page.get_by_role("menuitem", name="Export as Markdown").click()
    assert "## You\n\nAbout" in Path(markdown.value.path()).read_text()
    rows.filter(has_text="Fruit").locator(".row-title").focus()
    page.keyboard.press("Delete")
    expect(rows).to_have_count(1)
    page.get_by_role("button", name="Undo").click()
    expect(rows).to_have_count(2)
    page.get_by_label("A file of conversations").set_input_files(file)
    expect(rows).to_have_count(4)
    page.reload()
    expect(rows).to_have_count(4)
    page.keyboard.press("Control+k")
    page.get_by_role("combobox").fill("pears")
    page.keyboard.press("Enter")
    expect(page.locator(".bubble")).to_have_text("About pears")


def test_a_long_answer_does_not_take_the_reader_along(page: Page, fake: Fake) -> None:
    gate = threading.Event()

    def long(body: dict[str, Any]) -> Iterator[Any]:
        yield from (delta(content=f"Paragraph {at}\n\n") for at in range(60))
        gate.wait(30)
        yield from saying(*(f"Later {at}\n\n" for at in range(60)))

    fake.answer = long
    go(page, fake.url)
    ask(page, "Go on")
    expect(page.get_by_text("Paragraph 59")).to_be_in_viewport()
    page.locator(".thread").hover()
    page.mouse.wheel(0, -400)
    expect(page.locator(".to-end")).to_be_visible()
    before = page.locator(".thread").evaluate("element => element.scrollTop")
    gate.set()
    page.locator(".figures").wait_for(state="attached")
    assert page.locator(".thread").evaluate("element => element.scrollTop") == before
    page.locator(".to-end").click()
    expect(page.get_by_text("Later 59")).to_be_in_viewport()


def test_formulas_and_writing_from_right_to_left(page: Page, fake: Fake) -> None:
    formula, arabic = r"\(a_1 * b_1 * c\) and \[ x\,dx \]", "\u0645\u0631\u062d\u0628\u0627."
    fake.answer = lambda body: saying(f"So {formula}\n\n{arabic}\n\n| a |\n|---|\n| b |\n\n> quoted")
    go(page, fake.url)
    answer = asked(page, arabic)
    expect(answer.locator("p").first).to_have_text(f"So {formula}")
    for drawn in (answer.locator("p").nth(1), page.locator(".bubble")):
        expect(drawn).to_have_text(arabic)
        assert drawn.evaluate("one => getComputedStyle(one).direction") == "rtl"
    table, quote = answer.locator(".table").bounding_box(), answer.locator("blockquote").bounding_box()
    assert table and quote and quote["y"] > table["y"] + table["height"] + 5
