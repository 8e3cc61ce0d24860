"""Texts that would be programs stay texts: of models, of readers, of names and of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_server import Fake, saying
from page_reader import LONGEST, asked, go

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytest.importorskip("playwright.sync_api")
from playwright.sync_api import expect

expect.set_options(timeout=LONGEST)

#: Each would set ``pwned``, or ask another host.
HOSTILE = [
    "<script>window.pwned = 1</script>",
    "<img src=x onerror='window.pwned = 2'>",
    "<svg onload=window.pwned=3><script>window.pwned=3</script></svg>",
    "<iframe srcdoc='<script>parent.pwned=4</script>'></iframe>",
    "[link](javascript:window.pwned=5)",
    "[link](JaVaScRiPt:window.pwned=5) [link](java&#10;script:window.pwned=5) [link](&#106;avascript:window.pwned=5)",
    "[link](data:text/html,<script>window.pwned=6</script>) [link](vbscript:x) [link](blob:x) [link](file:///etc/passwd)",
    "<javascript:window.pwned=7> <a href='javascript:window.pwned=7'>x</a>",
    "![picture](http://evil.example/track.png) ![x](javascript:window.pwned=8) ![x](data:image/svg+xml,<svg/onload=window.pwned=8>)",
    '<math><mtext><table><mglyph><style><!--</style><img title="--&gt;&lt;img src=1 onerror=window.pwned=9&gt;">',
    '<svg></p><style><a id="</style><img src=1 onerror=window.pwned=10>">',
    '<noscript><p title="</noscript><img src=x onerror=window.pwned=11>">',
    "```html\n<script>window.pwned = 12</script>\n</code></pre><img src=x onerror=window.pwned=12>\n```",
    '```"><img/src=x/onerror=window.pwned=13>\nx\n```',
    "`<img src=x onerror=window.pwned=14>`",
    "| a | <img src=x onerror=window.pwned=15> |\n|---|---|\n| <script>window.pwned=15</script> | [x](javascript:window.pwned=15) |",
    "<form action=http://evil.example><input name=q><button>go</button></form><base href=http://evil.example/>",
    "<style>body { background: url(http://evil.example/x.png) }</style><link rel=stylesheet href=http://evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=http://evil.example'><object data=http://evil.example></object>",
    "{{constructor.constructor('window.pwned=16')()}} ${window.pwned=16}",
    "[ref]\n\n[ref]: javascript:window.pwned=17 'title'",
    "&lt;script&gt;window.pwned=18&lt;/script&gt; &#x3c;img src=x onerror=window.pwned=18&#x3e;",
    "> " * 60 + "<script>window.pwned=19</script>",
    "- [x] <img src=x onerror=window.pwned=20>",
]

#: What no text may bring into a message.
ELEMENTS = (
    "script, img, svg:not(.icon), iframe, object, embed, form, style, link, base, meta, math, video, audio, input:not([type=checkbox])"
)


def nothing_ran(page: Page) -> None:
    assert page.evaluate("window.pwned") is None
    assert page.locator(".thread-content").locator(ELEMENTS).count() == 0
    links = page.locator(".thread-content a").evaluate_all("all => all.map(link => link.href)")
    assert all(link.startswith(("http://", "https://", "mailto:")) for link in links)
    named = page.locator("*").evaluate_all(
        "all => all.flatMap(one => one.getAttributeNames()).filter(name => /^on|^style$|^srcdoc$/.test(name))"
    )
    assert set(named) <= {"style"}  # which React sets by itself, and no text


def test_in_answers(page: Page, fake: Fake) -> None:
    fake.answer = lambda body: saying(*(text + "\n\n" for text in HOSTILE))
    go(page, fake.url)
    answer = asked(page, "Attack")
    nothing_ran(page)
    expect(answer).to_contain_text("<script>window.pwned = 1</script>")
    expect(answer).to_contain_text("<script>window.pwned=18</script>")
    page.reload()  # as one text, not as it came
    expect(answer).to_contain_text("<script>window.pwned = 1</script>")
    nothing_ran(page)


def test_letter_by_letter(page: Page, fake: Fake) -> None:
    """What is half there is no less a text."""
    text = "\n\n".join(HOSTILE)
    fake.answer = lambda body: saying(*(text[at : at + 7] for at in range(0, len(text), 7)))
    go(page, fake.url)
    asked(page, "Attack")
    nothing_ran(page)


def test_in_questions_and_names(page: Page, fake: Fake) -> None:
    go(page, fake.url)
    for text in HOSTILE[:3] + HOSTILE[8:10]:
        asked(page, text)
    nothing_ran(page)
    page.locator(".row-title").first.dblclick()
    page.get_by_label("Name of the conversation").fill(HOSTILE[1])
    page.keyboard.press("Enter")
    expect(page.locator(".header-title")).to_have_text(HOSTILE[1])
    expect(page).to_have_title(f"{HOSTILE[1]} · Heron")
    nothing_ran(page)


def test_in_files(page: Page, fake: Fake, tmp_path: Path) -> None:
    evil = HOSTILE[1]
    said = [
        {"id": "a", "parent": None, "role": "user", "content": evil, "created": 1},
        {"id": "b", "parent": "a", "role": "assistant", "content": "\n\n".join(HOSTILE), "reasoning": evil, "model": evil, "error": evil,
         "ending": "error", "figures": {"tokens": evil, "first": {"x": evil}}},
        {"id": "c", "parent": "b", "role": "system", "content": evil},
        {"id": "d", "parent": "d", "role": "assistant", "content": {"toString": evil}},
    ]  # fmt: skip
    one = {
        "id": "__proto__",
        "title": evil,
        "messages": said,
        "leaf": "b",
        "settings": {"system": evil, "__proto__": {"x": 1}},
        "model": evil,
    }
    circle = {**one, "id": "circle", "messages": [{**said[0], "parent": "b"}, said[1]]}
    file = tmp_path / "evil.json"
    file.write_text(json.dumps({"conversations": [one, circle, {"id": 7}, None, "text", {"id": "x", "messages": {}}]}))
    go(page, fake.url)
    page.get_by_label("A file of conversations").set_input_files(file)
    expect(page.locator(".row")).to_have_count(2)
    for row in range(2):
        page.locator(".row-title").nth(row).click()
        expect(page.locator(".bubble")).to_have_text(evil)
        nothing_ran(page)
    for name, text in {"none.json": "{}", "broken.json": "{", "empty.json": "[]"}.items():
        (tmp_path / name).write_text(text)
        page.get_by_label("A file of conversations").set_input_files(tmp_path / name)
        expect(page.locator(".notice.error").last).to_contain_text("The file")
    expect(page.locator(".row")).to_have_count(2)


def test_what_takes_long_to_read(page: Page, fake: Fake) -> None:
    """Each of these has made some reader of Markdown slow, or run out of stack."""
    for text in (
        ">" * 4000,
        "*" * 5000 + "a",
        "[" * 4000,
        "<" * 5000,
        "`" * 5000,
        "- " * 1500 + "x",
        "|" * 3000 + "\n" + "|-" * 3000,
        "a**b" * 3000,
    ):
        fake.answer = lambda body, text=text: saying(text, " end")
        go(page, fake.url)
        asked(page, "Go")
        expect(page.locator(".answer").last).to_contain_text("end")


def test_the_policy_is_upheld(browser: Browser, fake: Fake) -> None:
    """Even code of the page's own could not make text HTML, or ask another host."""
    with browser.new_context() as context:
        context.set_default_timeout(LONGEST)
        page = context.new_page()
        go(page, fake.url)
        refused = page.evaluate(
            """async () => {
              const tries = {
                html: () => { document.body.innerHTML = '<b>x</b>' },
                write: () => document.write('<b>x</b>'),
                parse: () => new DOMParser().parseFromString('<b>x</b>', 'text/html'),
                policy: () => window.trustedTypes.createPolicy('x', {}),
                fetch: () => fetch('http://127.0.0.1:1/'),
              }
              const refused = []
              for (const [name, attempt] of Object.entries(tries)) {
                try { await attempt() } catch { refused.push(name) }
              }
              return refused
            }"""
        )
    assert refused == ["html", "write", "parse", "policy", "fetch"]
