"""Schemas, grammars and expressions that mean harm, over HTTP: each gets its answer or a 400, and a neighbour reads on, token for token."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from stories import CHAT, TEXT, Stories, neighbour, serving_stories

pytest.importorskip("llguidance")

CHATS, TEXTS, NATIVE = "/v1/chat/completions", "/v1/completions", "/completion"


@pytest.fixture(scope="module")
def stories(shared: Path) -> Iterator[Stories]:
    with serving_stories(shared) as running:
        yield running


def deep(count: int) -> dict[str, Any]:
    links = {f"a{i}": {"items": {"$ref": f"#/$defs/a{i + 1}"}, "type": "array"} for i in range(count)}
    return {"$defs": links | {f"a{count}": {"type": "null"}}, "$ref": "#/$defs/a0"}


#: name -> parameters, and what the refusal says.
REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "10 MB of schema": ({"json_schema": {"enum": ["x" * 1000] * 10**4}}, "bytes"),
    "an invalid grammar": ({"grammar": "root ::= ("}, "is missing"),
    "an invalid schema": ({"json_schema": {"type": "frog"}}, "frog"),
    "a recursive $ref": ({"json_schema": {"$ref": "#"}}, "no text satisfies it"),
    "a $ref to a private address": ({"json_schema": {"$ref": "http://169.254.169.254/"}}, "does not fetch"),
    "an exponential terminal": (
        {"grammar": "start: R0\n" + "\n".join(f"R{i}: R{i + 1} R{i + 1}" for i in range(60)) + '\nR60: "c"'},
        "too big",
    ),
    "an empty language": ({"regex": r"[^\s\S]"}, "no text satisfies it"),
    "a grammar that never ends": ({"grammar": 'root ::= "a" root'}, "derives no text"),
    "a million parentheses": ({"regex": "(" * 30000 + "a" + ")" * 30000}, "regular expression"),
    "a keyword that cannot be followed": ({"json_schema": {"not": {}}}, "not"),
}

FOLLOWED: dict[str, dict[str, Any]] = {
    "2^20 states": {"regex": "(a|b)*a(a|b){20}"},
    "(a{0,1000}){0,1000}": {"regex": "((a{0,1000}){0,1000}){0,1000}"},
    "2,000 $refs in a chain": {"json_schema": deep(2000)},
    "3,000 rules in a chain": {"grammar": "start: r0\n" + "\n".join(f'r{i}: "a" r{i + 1}' for i in range(3000)) + '\nr3000: "c"'},
    "a tree": {"json_schema": {"type": "array", "items": {"$ref": "#"}}},
}


def test_what_cannot_be_followed_is_refused_and_nobody_else_notices(stories: Stories) -> None:
    bodies: list[tuple[str, dict[str, Any]]] = [
        (CHATS, {"messages": CHAT}),
        (NATIVE, {"prompt": TEXT}),
        (TEXTS, {"prompt": TEXT, "stream": True}),
    ]
    with neighbour(stories):
        for i, (name, (how, says)) in enumerate(REFUSED.items()):
            path, body = bodies[i % 3]
            response = stories.http.post(path, json={**body, **how, "max_tokens": 5})
            assert response.status_code == 400 and says in response.text, (name, response.text)


def test_what_can_be_followed_is(stories: Stories) -> None:
    with neighbour(stories):
        for name, how in FOLLOWED.items():
            answer = stories.post(TEXTS, prompt=TEXT, max_tokens=8, **how)
            assert answer["choices"][0]["finish_reason"] in ("stop", "length"), name


def test_many_new_schemas_at_once(stories: Stories) -> None:
    """Each client gets what its own schema asks for."""

    def ask(i: int) -> dict[str, Any]:
        schema = {"type": "object", "properties": {f"k{i % 20}": {"const": i}}, "required": [f"k{i % 20}"], "additionalProperties": False}
        form = {"type": "json_schema", "json_schema": {"name": "one", "schema": schema, "strict": True}}
        said = stories.post(CHATS, messages=CHAT, response_format=form, max_tokens=120, temperature=1.3, seed=i)
        assert said["choices"][0]["finish_reason"] == "stop"
        found: dict[str, Any] = json.loads(said["choices"][0]["message"]["content"])
        return found

    with neighbour(stories), ThreadPoolExecutor(8) as clients:
        assert list(clients.map(ask, range(40))) == [{f"k{i % 20}": i} for i in range(40)]


def test_compiling_does_not_hold_the_loop(stories: Stories, monkeypatch: pytest.MonkeyPatch) -> None:
    grammars = stories.model.grammars
    right = grammars._compile

    def slowly(constraint: Any) -> Any:
        time.sleep(1.0)
        return right(constraint)

    monkeypatch.setattr(grammars, "_compile", slowly)
    with ThreadPoolExecutor(1) as clients:
        slow = clients.submit(stories.post, TEXTS, prompt=TEXT, regex="[a-z]{3,5} slow", max_tokens=20)
        time.sleep(0.2)
        begin = time.perf_counter()
        assert stories.http.get("/health").status_code == 200
        assert time.perf_counter() - begin < 0.5 and not slow.done()
        assert slow.result()["choices"][0]["text"].endswith(" slow")
