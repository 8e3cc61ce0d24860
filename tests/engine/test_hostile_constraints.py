"""Schemas, grammars and expressions that are meant to do harm: each is refused or followed, in time, and nobody else notices."""

from __future__ import annotations

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import heron
from heron.engine import grammars as limits
from heron.engine import guide as guides
from heron.engine.constrain import Constraint
from heron.engine.engine import Engine
from heron.engine.grammars import Grammars
from heron.engine.model import Model
from heron.engine.request import Request
from heron.errors import RequestError

pytest.importorskip("llguidance")


@pytest.fixture(scope="module")
def stories(shared: Path) -> Model:
    return heron.load(shared / "data/stories/stories260K-f32.gguf", threads=1)


def chain(count: int, rule: str) -> str:
    return "\n".join(rule.format(i, i + 1) for i in range(count))


def refs(count: int) -> dict[str, Any]:
    """A schema that is valid for one text, nested ``count`` deep."""
    links = {f"a{i}": {"items": {"$ref": f"#/$defs/a{i + 1}"}, "type": "array"} for i in range(count)}
    return {"$defs": links | {f"a{count}": {"type": "null"}}, "$ref": "#/$defs/a0"}


def nested(depth: int) -> str:
    return '{"items":' * depth + "{}" + "}" * depth


A = {"$ref": "#/$defs/a"}
NULL = {"type": "object", "properties": {"a": {"type": "null"}}, "required": ["a"]}

#: name -> what makes the constraint, and what the refusal says.
REFUSED: dict[str, tuple[Any, str]] = {
    "a schema of 10 MB": (lambda: Constraint.schema({"enum": ["x" * 100] * 10**5}), "262144"),
    "a grammar of 10 MB": (lambda: Constraint.gbnf('root ::= "a"\n' * 10**6), "65536"),
    "an expression of 10 MB": (lambda: Constraint.regex("a?" * 10**6), "65536"),
    "a recursive $ref to itself": (lambda: Constraint.schema({"$ref": "#"}), "no text satisfies it"),
    "a ring of $refs": (lambda: Constraint.schema({"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}} | A), "no text"),
    "a $ref to a private address": (lambda: Constraint.schema({"$ref": "http://169.254.169.254/latest"}), "does not fetch"),
    "a $ref to a file": (lambda: Constraint.schema({"$ref": "file:///etc/passwd"}), "does not fetch"),
    "deep nesting": (lambda: Constraint.schema(nested(20000)), "nested too deeply|recursion limit"),
    "half as deep": (lambda: Constraint.schema(nested(500)), "recursion limit"),
    "allOf of anyOfs": (
        lambda: Constraint.schema({"allOf": [{"anyOf": [{"properties": {f"a{i}{j}": {}}} for j in range(3)]} for i in range(12)]}),
        "too large",
    ),
    "lenient by its own word": (lambda: Constraint.schema({"x-guidance": {"lenient": True}, "not": {}}), "not"),
    "false": (lambda: Constraint.schema(False), "no text satisfies it"),
    "an empty enum": (lambda: Constraint.schema({"enum": []}), "[Uu]nsatisfiable"),
    "no integer": (lambda: Constraint.schema({"type": "integer", "minimum": 5, "maximum": 2}), "greater than"),
    "an unknown type": (lambda: Constraint.schema({"type": "frog"}), "frog"),
    "uniqueItems": (lambda: Constraint.schema({"type": "array", "uniqueItems": True}), "uniqueItems"),
    "a list": (lambda: Constraint.schema("[1]"), "give an object"),
    "no JSON": (lambda: Constraint.schema("{"), "no JSON"),
    "NaN": (lambda: Constraint.schema('{"const": NaN}'), "NaN"),
    "NaN in Python": (lambda: Constraint.schema({"const": float("nan")}), "cannot be written"),
    "a lone surrogate": (lambda: Constraint.regex("\ud800"), "surrogate"),
    "a lone surrogate in a schema": (lambda: Constraint.schema('{"const": "\\ud800"}'), "JSON schema"),
    "a bad pattern": (lambda: Constraint.schema({"type": "string", "pattern": "(a+)+$("}), "unclosed"),
    "a bad expression": (lambda: Constraint.regex("(a"), "unclosed"),
    "a look-around": (lambda: Constraint.regex("(?=a)b"), "look-around"),
    "a back reference": (lambda: Constraint.regex(r"(a)\1"), "backreference"),
    "an empty class": (lambda: Constraint.regex(r"[^\s\S]"), "no text satisfies it"),
    "ten thousand groups": (lambda: Constraint.regex("(" * 10000 + "a" + ")" * 10000), "nest"),
    "no Lark": (lambda: Constraint.lark("start: foo"), "foo"),
    "a Lark grammar of left recursion alone": (lambda: Constraint.lark('start: start "a"'), "no text satisfies it"),
    "an exponential terminal": (lambda: Constraint.lark("start: R0\n" + chain(60, "R{0}: R{1} R{1}") + '\nR60: "c"'), "too big"),
    "a grammar that never ends": (lambda: Constraint.gbnf('root ::= "a" root'), "derives no text"),
    "no kind": (lambda: Constraint("yaml", ""), "yaml"),
    "no text": (lambda: Constraint("gbnf", 3), "give a text"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_with_its_reason(stories: Model, name: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(RequestError, match=REFUSED[name][1]):
        stories.grammars.compile(REFUSED[name][0]())
    assert time.perf_counter() - begin < limits.COMPILE_SECONDS + 2


#: What is unkind and can be followed.
FOLLOWED: dict[str, Any] = {
    "(a{0,1000}){0,1000}": lambda: Constraint.regex("((a{0,1000}){0,1000}){0,1000}"),
    "(a?)^n a^n": lambda: Constraint.regex("(a?){500}a{500}"),
    "(a+)+": lambda: Constraint.regex("(((((a+)+)+)+)+)+b"),
    "(.{1,100}){100}": lambda: Constraint.regex("(.{1,100}){100}"),
    "2^20 states": lambda: Constraint.regex("(a|b)*a(a|b){20}"),
    "a million items": lambda: Constraint.schema({"type": "array", "minItems": 10**6}),
    "a long string": lambda: Constraint.schema({"type": "string", "minLength": 10**5}),
    "a tree": lambda: Constraint.schema({"type": "array", "items": {"$ref": "#"}}),
    "5,000 names": lambda: Constraint.schema({"enum": [f"value {i}" for i in range(5000)]}),
    "x-guidance with other signs": lambda: Constraint.schema({"x-guidance": {"item_separator": ";", "key_separator": "="}} | NULL),
    "2,500 rules in a chain": lambda: Constraint.gbnf("root ::= r0\n" + chain(2500, 'r{} ::= "a" r{} | "b"') + '\nr2500 ::= "c"'),
    "3,500 of Lark's": lambda: Constraint.lark("start: r0\n" + chain(3500, 'r{}: "a" r{}') + '\nr3500: "c"'),
    "2,000 $refs in a chain": lambda: Constraint.schema(refs(2000)),
    "ambiguity": lambda: Constraint.lark('start: start start | "a"'),
    "rules that double": lambda: Constraint.gbnf("root ::= r0\n" + chain(60, "r{0} ::= r{1} r{1}") + '\nr60 ::= "c" | "d"'),
}


@pytest.mark.parametrize("name", FOLLOWED)
def test_it_is_followed_or_ends_alone(stories: Model, name: str) -> None:
    begin = time.perf_counter()
    refused = ""
    try:
        answer = stories.generate("Once", constraint=FOLLOWED[name](), max_tokens=20, temperature=1, seed=0)
        assert answer.finish_reason in ("stop", "length") and answer.tokens
    except RequestError as error:
        refused = str(error)
    assert not refused or "could not be followed" in refused
    assert time.perf_counter() - begin < limits.COMPILE_SECONDS + 5


def test_what_takes_too_long_is_given_up(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COMPILE_SECONDS", 0.2)
    release, grammars = threading.Event(), Grammars(stories.tokenizer)
    monkeypatch.setattr(grammars, "_compile", lambda constraint: release.wait(20))
    for i in range(limits.COMPILERS):
        with pytest.raises(RequestError, match="could not be compiled"):
            grammars.compile(Constraint.regex(f"a{i}"))
    with pytest.raises(RequestError, match="waited"):  # both places are taken still
        grammars.compile(Constraint.regex("b"))
    release.set()
    monkeypatch.setattr(grammars, "_compile", lambda constraint: constraint.text)
    monkeypatch.setattr(limits, "COMPILE_SECONDS", 20.0)
    assert grammars.compile(Constraint.regex("c")) == "c"


def test_only_so_many_are_kept(stories: Model) -> None:
    grammars = Grammars(stories.tokenizer)
    first = grammars.compile(Constraint.regex("x0"))
    assert grammars.compile(Constraint.regex("x0")) is first
    for i in range(limits.KEPT):
        grammars.compile(Constraint.regex(f"x{i + 1}"))
    assert len(grammars._compiled) == limits.KEPT
    assert grammars.compile(Constraint.regex("x0")) is not first


def test_many_threads_may_ask(stories: Model) -> None:
    grammars = Grammars(stories.tokenizer)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda i: grammars.compile(Constraint.regex(f"[a-z]{{{i % 5 + 1}}}")), range(40)))
    assert len(made) == 40 and len(grammars._compiled) == 5


def drive(engine: Engine) -> None:
    for _ in range(3000):
        if not engine.step():
            return
    raise AssertionError("the engine does not come to an end")


PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 12}, "age": {"type": "integer", "minimum": 0, "maximum": 120}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


def test_neighbours_of_a_grammar_that_dies_are_answered_as_if_alone(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"temperature": 1.2, "max_tokens": 90, "repeat_penalty": 1.1}
    shapes = [{}, {"constraint": Constraint.schema(PERSON)}, {"constraint": Constraint.regex("[A-Z][a-z ]{20,40}\\.")}, {"top_logprobs": 3}]
    asked: list[dict[str, Any]] = [how | shapes[i % 4] | {"seed": i} for i in range(8)]
    alone = [stories.generate("Once upon a time", **one) for one in asked]
    with Engine(stories, max_seqs=12) as engine:
        requests = [engine.submit("Once upon a time", **one) for one in asked]
        dying = [engine.submit("Once", constraint=Constraint.regex("[a-z ]+"), seed=i, max_tokens=50) for i in range(2)]
        nothing = engine.submit("Once", constraint=Constraint.regex("[0-9]+"), allowed_token_ids=[300])
        for _ in range(5):
            engine.step()
        monkeypatch.setattr(dying[0].answer._guide, "accept", _raise)
        monkeypatch.setattr(dying[1].answer._guide, "mask", _raise)
        drive(engine)
        for request, expected in zip(requests, alone, strict=True):
            result = request.result()
            assert (result.tokens, result.text, result.logprobs) == (expected.tokens, expected.text, expected.logprobs)
            assert result.top_logprobs == expected.top_logprobs
        for request in dying:
            with pytest.raises(RequestError, match="died"):
                request.result()
        with pytest.raises(RequestError, match="no token may come next"):
            nothing.result()
        assert not engine.scheduler.running
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)
    people = [alone[i].text for i in (1, 5) if alone[i].finish_reason == "stop"]
    assert people, [alone[i].text for i in (1, 5)]
    assert all(set(json.loads(text)) == {"name", "age"} for text in people)


def test_a_mask_that_takes_too_long_ends_its_answer_alone(stories: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guides, "MASK_SECONDS", 0.3)
    release = threading.Event()
    expected = stories.generate("Once upon a time", seed=3, max_tokens=30)
    with Engine(stories) as engine:
        good = engine.submit("Once upon a time", seed=3, max_tokens=30)
        slow = engine.submit("Once", constraint=Constraint.regex("[a-z ]+"), max_tokens=30, speculate="ngram")
        engine.step()
        monkeypatch.setattr(slow.answer._guide, "_compute", lambda: release.wait(20))
        drive(engine)
        release.set()
        assert good.result().tokens == expected.tokens
        with pytest.raises(RequestError, match="too ambiguous"):
            slow.result()
        assert all(engine.cache.in_use(name) == 0 for name in engine.cache.groups)


def _raise(*_: Any) -> None:
    raise RequestError("the grammar died")


@pytest.mark.parametrize("speculate", ["off", "ngram"])
def test_constraints_stream_speculate_and_sample_n_alike(stories: Model, speculate: str) -> None:
    constraint = Constraint.gbnf('root ::= item{2,4}\nitem ::= "- " [a-z ]{3,12} "\\n"')
    how: dict[str, Any] = {"constraint": constraint, "temperature": 1.0, "seed": 5, "max_tokens": 80}
    with Engine(stories) as engine:
        plain: list[Request] = [engine.submit("Once upon a time", sample=i, speculate="off", **how) for i in range(3)]
        other: list[Request] = [engine.submit("Once upon a time", sample=i, speculate=speculate, **how) for i in range(3)]
        engine.start()
        texts = [["".join(piece.text for piece in request) for request in requests] for requests in (plain, other)]
    assert texts[0] == texts[1] and len(set(texts[0])) == 3
    assert all(line.startswith("- ") for text in texts[0] for line in text.splitlines())
