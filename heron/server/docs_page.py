"""GET /docs: the OpenAPI document as a page for people, without a script, and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from json import dumps
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse

_STYLE = """
:root { color-scheme: light dark; --line: #8885; --soft: #8882; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; overflow-wrap: anywhere; }
h1 { margin-bottom: 0; }
h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
h3 { margin-top: 2rem; }
code, pre { font: 14px/1.4 ui-monospace, monospace; background: var(--soft); border-radius: 4px; padding: .1em .3em; }
pre { padding: .7em; white-space: pre-wrap; }
table { border-collapse: collapse; width: 100%; font-size: 15px; }
th, td { text-align: left; vertical-align: top; padding: .3em .8em .3em 0; border-bottom: 1px solid var(--line); }
td:first-child { white-space: nowrap; }
summary { cursor: pointer; }
h3 code { font-size: 17px; font-weight: 600; }
@media (max-width: 40rem) {
  tr { display: block; padding: .4em 0; border-bottom: 1px solid var(--line); }
  th { display: none; }
  td { display: inline; border: 0; }
  td:last-child { display: block; }
}
nav ul { columns: 18rem; padding-left: 1.2rem; }
"""

#: The style alone, by its digest: no script, no picture, no form, no frame.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {"content-security-policy": _POLICY, "x-content-type-options": "nosniff", "referrer-policy": "no-referrer"}


def install(app: FastAPI) -> None:
    """Serve the page, which is made once, of all the routes that there are by then."""
    made: list[str] = []

    async def docs(request: Request) -> HTMLResponse:
        if not made:
            made.append(page(app.openapi()))
        return HTMLResponse(made[0], headers=_HEADERS)

    app.add_api_route("/docs", docs, include_in_schema=False)


def page(document: Mapping[str, Any]) -> str:
    """An OpenAPI document in HTML."""
    info, schemas = document["info"], document["components"]["schemas"]
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault((operation.get("tags") or ["other"])[0], []).append((method.upper(), path, operation))
    parts = [f"<h1>{escape(info['title'])} {escape(info['version'])}</h1>", _prose(info.get("description", ""))]
    parts += ['<p>The same for programs: <a href="/openapi.json">/openapi.json</a></p>', "<nav>", *_contents(by_tag), "</nav>"]
    for tag, operations in by_tag.items():
        parts.append(f"<h2>{escape(tag)}</h2>")
        for operation in operations:
            parts += _operation(*operation)
    parts.append("<h2>Objects</h2>")
    for name, schema in schemas.items():
        parts += [f'<h3 id="{escape(name)}"><code>{escape(name)}</code></h3>', _prose(schema.get("description", "")), *_fields(schema)]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(info["title"])}</title>'
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{_STYLE}</style></head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _contents(by_tag: Mapping[str, list[tuple[str, str, Mapping[str, Any]]]]) -> Iterator[str]:
    for tag, operations in by_tag.items():
        links = (f'<li><a href="#{_anchor(method, path)}"><code>{method} {escape(path)}</code></a></li>' for method, path, _ in operations)
        yield f"<p>{escape(tag)}</p><ul>{''.join(links)}</ul>"


def _anchor(method: str, path: str) -> str:
    return re.sub(r"\W+", "-", f"{method}{path}".lower()).strip("-")


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    """A route: what it does, what goes in, what comes out."""
    yield f'<h3 id="{_anchor(method, path)}"><code>{method} {escape(path)}</code></h3>'
    yield f"<p><strong>{escape(operation.get('summary', ''))}</strong></p>" + _prose(operation.get("description", ""))
    if parameters := operation.get("parameters"):
        rows = [
            (
                f"<code>{escape(each['name'])}</code>",
                _type(each.get("schema", {})),
                escape(each["in"]),
                _prose(each.get("description", ""), "span"),
            )
            for each in parameters
        ]
        yield _table(("parameter", "type", "in", ""), rows)
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        yield f"<p>Body: {_type(content.get('schema', {}))}, <code>{escape(kind)}</code></p>" + _examples(content)
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        yield f"<p>{escape(status)}: {_prose(response.get('description', ''), 'span')}</p>"
        for kind, content in response.get("content", {}).items():
            told = f" {_type(content['schema'])}" if content.get("schema") else ""
            yield f"<p><code>{escape(kind)}</code>{told}</p>" + _examples(content)
    wrong = [
        (status, _prose(response.get("description", ""), "span")) for status, response in operation["responses"].items() if status >= "4"
    ]
    yield f"<details><summary>Errors</summary>{_table(('status', ''), wrong)}</details>"


def _fields(schema: Mapping[str, Any]) -> Iterator[str]:
    """The fields of an object, needed ones first."""
    needed = schema.get("required", ())
    rows = []
    for name, field in sorted(schema.get("properties", {}).items(), key=lambda item: item[0] not in needed):
        default = "" if field.get("default") is None else f" Default: <code>{escape(dumps(field['default']))}</code>."
        about = _prose(field.get("description", ""), "span") + default
        rows.append((f"<code>{escape(name)}</code>", _type(field), "needed" if name in needed else "", about))
    if rows:
        yield _table(("field", "type", "", ""), rows)


def _type(schema: Mapping[str, Any]) -> str:
    """A schema in a few words, as HTML; objects that have a name are links."""
    if reference := schema.get("$ref"):
        name = escape(reference.rpartition("/")[2])
        return f'<a href="#{name}">{name}</a>'
    for of in ("anyOf", "oneOf", "allOf"):
        if of in schema:
            return " or ".join(dict.fromkeys(_type(each) for each in schema[of] if each.get("type") != "null"))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"<code>{escape(dumps(value))}</code>" for value in schema.get("enum", [schema.get("const")]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return escape(str(schema.get("type", "anything")))


def _examples(content: Mapping[str, Any]) -> str:
    if (example := content.get("example")) is None:
        return ""
    return f"<pre>{escape(example if isinstance(example, str) else dumps(example, indent=2, ensure_ascii=False))}</pre>"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """Cells are HTML."""
    head = "".join(f"<th>{title}</th>" for title in titles)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _prose(text: str, element: str = "p") -> str:
    """Paragraphs, in which `backticks` are code."""
    parts = (re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(part.strip())) for part in re.split(r"\n\s*\n", text) if part.strip())
    return "".join(f"<{element}>{part}</{element}>" for part in parts)
