"""/docs works without the internet, under a policy that allows nothing but its own style."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from http_serving import Served

from heron.server.docs_page import page


class Found(HTMLParser):
    """Elements, their attributes, and texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_needs_nothing_from_elsewhere(served: Served) -> None:
    answer = served.get("/docs")
    assert answer.status_code == 200 and answer.headers["content-type"] == "text/html; charset=utf-8"
    found = Found(answer.text)
    assert not found.open and not {"script", "link", "img", "iframe", "form", "object", "embed", "base"} & set(found.tags)
    assert {name for name, _ in found.attributes} <= {"lang", "charset", "name", "content", "href", "id"}
    assert {value[:1] for name, value in found.attributes if name == "href"} == {"#", "/"} and "://" not in answer.text.replace(
        "http://", "", 0
    ).split("<body>")[0]


def test_the_policy_allows_its_style_alone(served: Served) -> None:
    answer = served.get("/docs")
    (style,) = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
    assert rules.pop("style-src") == f"'sha256-{digest}'" and set(rules.values()) == {"'none'"} and "default-src" in rules
    assert " style=" not in answer.text and " on" not in re.sub(r">[^<]*<", "><", answer.text)


def test_the_page_has_every_route_and_field(served: Served) -> None:
    document, found = served.get("/openapi.json").json(), Found(served.get("/docs").text)
    routes = [f"{method.upper()} {path}" for path, operations in document["paths"].items() for method in operations]
    fields = [name for schema in document["components"]["schemas"].values() for name in schema.get("properties", {})]
    assert len(routes) > 10 and not [each for each in (*routes, *fields) if each not in found.text]
    ids = [value for name, value in found.attributes if name == "id"]
    links = {value[1:] for name, value in found.attributes if name == "href" and value[0] == "#"}
    assert len(ids) == len(set(ids)) and links <= set(ids)


def test_texts_of_the_document_are_texts() -> None:
    hostile = "<script>alert(1)</script>"
    schema = {"description": hostile, "properties": {hostile: {"type": "string", "description": f"`{hostile}`", "default": hostile}}}
    operation = {
        "tags": [hostile],
        "summary": hostile,
        "responses": {"200": {"description": hostile, "content": {hostile: {"example": hostile}}}},
    }
    operation["parameters"] = [{"name": hostile, "in": "query", "schema": {"enum": [hostile]}, "description": hostile}]
    document = {"info": {"title": hostile, "version": hostile}, "paths": {f"/{hostile}": {"get": operation}}}
    text = page(document | {"components": {"schemas": {hostile: schema}}})
    assert "script" not in Found(text).tags and text.count("&lt;script&gt;") > 12
