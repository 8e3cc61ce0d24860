"""Constrained answers satisfy their constraint, whatever the model says: the logits here are random."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heron.engine.answer import Answer
from heron.engine.constrain import Constraint
from heron.engine.grammars import Grammars
from heron.engine.sampling import SamplingParams
from heron.errors import RequestError
from heron.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")
jsonschema_rs = pytest.importorskip("jsonschema_rs")


@pytest.fixture(scope="module", params=["stories/stories260K-f32.gguf", "vocabs/ggml-vocab-llama-spm.gguf", "vocabs/ggml-vocab-gpt-2.gguf"])
def grammars(request: pytest.FixtureRequest, shared: Path) -> Grammars:
    return Grammars(Tokenizer.from_file(shared / "data" / request.param))


@pytest.fixture(scope="module")
def stories(shared: Path) -> Grammars:
    return Grammars(Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf"))


def random_answer(grammars: Grammars, constraint: Constraint, seed: int, max_tokens: int = 300, **how: Any) -> tuple[str, str]:
    """The text of an answer whose logits are random, but for what ends a list or a text early; and why it ended."""
    tokenizer, rng = grammars.tokenizer, np.random.default_rng(seed)
    likely = np.zeros(tokenizer.vocab_size, np.float32)
    for id in range(tokenizer.vocab_size):
        likely[id] = 6 * (tokenizer.token_bytes(id) in (b'"', b"}", b"]", b")"))
    params = SamplingParams(temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed, max_tokens=max_tokens, constraint=constraint)
    answer = Answer(grammars, params.changed(**how), [1], 10**6, continues=False)
    text = ""
    while not answer.finish_reason:
        text += answer.push(likely + rng.standard_normal(len(likely)).astype(np.float32) * 3).text
    return text, answer.finish_reason


#: name -> schema; all of what users write, and each with bounds, so that random texts come to an end.
TEXT: dict[str, Any] = {"type": "string", "maxLength": 6}
SCHEMAS: dict[str, Any] = {
    "object": {
        "type": "object",
        "properties": {"name": TEXT, "age": {"type": "integer", "minimum": 0, "maximum": 150}, "tags": {"type": "array", "items": TEXT}},
        "required": ["name", "age"],
        "additionalProperties": False,
    },
    "nested": {
        "type": "object",
        "properties": {"a": {"type": "object", "properties": {"b": {"type": "object", "properties": {"c": {"const": [1, {"d": None}]}}}}}},
        "required": ["a"],
        "additionalProperties": False,
    },
    "enum": {"enum": ["red", "grün", 3, None, True, {"a": [1, 2.5]}, '"\\']},
    "const": {"const": {"x": "é\n\u2028", "y": [[]]}},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3,5}(/[a-c]+)?$", "maxLength": 12},
    "pattern within": {"type": "string", "pattern": "[0-9]{3}", "maxLength": 8},
    "unicode pattern": {"type": "string", "pattern": "^[а-яё]{1,4}$"},
    "oneOf": {"oneOf": [{"type": "integer", "maximum": 10, "minimum": 0}, {"type": "string", "maxLength": 3}, {"type": "null"}]},
    "oneOf by a tag": {
        "oneOf": [
            {"type": "object", "properties": {"kind": {"const": k}, k: TEXT}, "required": ["kind", k], "additionalProperties": False}
            for k in ("cat", "dog")
        ]
    },
    "anyOf": {"anyOf": [{"type": "array", "items": {"type": "boolean"}, "maxItems": 2}, {"type": "number", "exclusiveMinimum": 5}]},
    "allOf": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
            {"properties": {"b": {"type": "boolean"}}, "required": ["b"]},
        ],
        "maxProperties": 3,
    },
    "tree": {
        "$defs": {
            "node": {
                "type": "object",
                "properties": {"value": {"type": "integer"}, "on": {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 2}},
                "required": ["value"],
                "additionalProperties": False,
            }
        },
        "$ref": "#/$defs/node",
    },
    "list by $ref to the root": {
        "type": "object",
        "properties": {"v": TEXT, "next": {"anyOf": [{"$ref": "#"}, {"type": "null"}]}},
        "required": ["v", "next"],
        "additionalProperties": False,
    },
    "integers": {"type": "array", "items": {"type": "integer", "minimum": -17, "exclusiveMaximum": 1000}, "minItems": 3, "maxItems": 5},
    "numbers": {"type": "array", "items": {"type": "number", "exclusiveMinimum": -0.5, "maximum": 2.75}, "minItems": 2, "maxItems": 4},
    "multiples": {"type": "array", "items": {"type": "integer", "multipleOf": 7, "minimum": -50, "maximum": 500}, "maxItems": 4},
    "tuple": {"type": "array", "prefixItems": [{"type": "boolean"}, TEXT, {"type": "null"}], "items": False, "minItems": 3},
    "map": {"type": "object", "additionalProperties": {"type": "integer", "minimum": 1, "maximum": 9}},
    "patternProperties": {"type": "object", "patternProperties": {"^k[0-9]$": {"type": "boolean"}}, "additionalProperties": False},
    "lengths": {"type": "array", "items": {"type": "string", "minLength": 2, "maxLength": 4}, "minItems": 1, "maxItems": 3},
    "nullable": {"type": ["integer", "null", "boolean"]},
    "any": True,
}
FORMATS = ["date", "time", "date-time", "email", "uuid", "ipv4", "ipv6", "hostname", "uri", "duration"]
SCHEMAS |= {f"format {name}": {"type": "string", "format": name} for name in FORMATS}


@pytest.mark.parametrize("name", SCHEMAS)
def test_what_ends_is_valid_by_its_schema(stories: Grammars, name: str) -> None:
    schema = SCHEMAS[name]
    validator = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    complete = 0
    for seed in range(12):
        text, reason = random_answer(stories, Constraint.schema(schema), seed)
        if reason == "stop":
            complete += 1
            assert validator.is_valid(json.loads(text)), f"{text} is not valid by {schema}"
        else:
            assert reason == "length"
    assert complete >= (1 if "uri" in name or "email" in name or "hostname" in name else 4)


def test_other_vocabularies_keep_to_schemas(grammars: Grammars) -> None:
    for name in ("object", "tree", "enum", "unicode pattern", "numbers"):
        validator = jsonschema_rs.Draft202012Validator(SCHEMAS[name])
        ended = [random_answer(grammars, Constraint.schema(SCHEMAS[name]), seed) for seed in range(4)]
        texts = [text for text, reason in ended if reason == "stop"]
        assert texts
        assert all(validator.is_valid(json.loads(text)) for text in texts)


def test_json_objects_are_objects(grammars: Grammars) -> None:
    texts = [text for text, reason in (random_answer(grammars, Constraint.json(), seed) for seed in range(6)) if reason == "stop"]
    assert len(texts) >= 2
    assert all(isinstance(json.loads(text), dict) for text in texts)


@pytest.mark.parametrize(
    "expression", [r"[a-z]{3,8}@[a-z]{2,5}\.(com|org)", r"\d{4}-\d{2}", r"(yes|no)(, (yes|no)){2}", r"[^a-z\s]{3}", r"ä(ö|ü){2,4}"]
)
def test_expressions_match_from_beginning_to_end(grammars: Grammars, expression: str) -> None:
    for seed in range(5):
        text, reason = random_answer(grammars, Constraint.regex(expression), seed)
        assert reason == "stop"
        assert re.fullmatch(expression, text)


def test_lark_grammars(grammars: Grammars) -> None:
    lark = 'start: "SELECT " NAME (", " NAME)* " FROM " NAME ";"\nNAME: /[a-z]{1,5}/'
    for seed in range(5):
        text, reason = random_answer(grammars, Constraint.lark(lark), seed)
        assert reason == "stop" and re.fullmatch(r"SELECT [a-z]{1,5}(, [a-z]{1,5})* FROM [a-z]{1,5};", text)


#: Grammars that come with llama.cpp, in their authors' form, and what their texts look like.
ARITHMETIC = r"""
root  ::= (expr "=" ws term "\n"){1,3}
expr  ::= term ([-+*/] term){0,3}
term  ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]{0,3} ws
num   ::= [0-9]{1,4} ws
ws    ::= [ \t\n]{0,2}
"""
JSON = r"""
root   ::= object
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws ( string ":" ws value ("," ws string ":" ws value)* )? "}" ws
array  ::= "[" ws ( value ("," ws value)* )? "]" ws
string ::= "\"" ( [^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}) )* "\"" ws  # escapes
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws ::= | " " | "\n" [ \t]{0,20}
"""
LIST = 'root ::= item+\n\n# Excludes various line break characters\nitem ::= "- " [^\\r\\n\\x0b\\x0c\\x85\\u2028\\u2029]{1,9} "\\n"\n'
CHESS = r"""
# Specifies chess moves as a list in algebraic notation, using PGN conventions
root    ::= "1. " move " " move "\n" ([1-9] [0-9]? ". " move " " move "\n"){1,3}
move    ::= (pawn | nonpawn | castle) [+#]?
nonpawn ::= [NBKQR] [a-h]? [1-8]? "x"? [a-h] [1-8]
pawn    ::= ([a-h] "x")? [a-h] [1-8] ("=" [NBKQR])?
castle  ::= "O-O" "-O"?
"""
MOVE = r"(([a-h]x)?[a-h][1-8](=[NBKQR])?|[NBKQR][a-h]?[1-8]?x?[a-h][1-8]|O-O(-O)?)[+#]?"


@pytest.mark.parametrize(
    ("grammar", "holds"),
    [
        (JSON, lambda text: isinstance(json.loads(text, strict=False), dict)),
        (LIST, lambda text: re.fullmatch("(- [^\r\n\x0b\x0c\x85\u2028\u2029]{1,9}\n)+", text)),
        (CHESS, lambda text: re.fullmatch(rf"1\. {MOVE} {MOVE}\n([1-9][0-9]?\. {MOVE} {MOVE}\n){{1,3}}", text)),
        (ARITHMETIC, lambda text: text.endswith("\n") and not set(text) - set("abcdefghijklmnopqrstuvwxyz0123456789_+-*/=() \t\n")),
    ],
    ids=["json", "list", "chess", "arithmetic"],
)
def test_grammars_of_llama_cpp(grammars: Grammars, grammar: str, holds: Any) -> None:
    ended = [random_answer(grammars, Constraint.gbnf(grammar), seed, max_tokens=250) for seed in range(5)]
    texts = [text for text, reason in ended if reason == "stop"]
    assert len(texts) >= 2
    assert all(holds(text) for text in texts)


def test_an_answer_that_is_cut_says_so(stories: Grammars) -> None:
    schema = {"type": "string", "minLength": 100}
    text, reason = random_answer(stories, Constraint.schema(schema), 0, max_tokens=10)
    assert reason == "length" and text.startswith('"')


def test_a_stop_string_ends_what_is_complete_and_nothing_else(stories: Grammars) -> None:
    words = Constraint.regex("[a-z]{3}( stop)?")
    ended = [random_answer(stories, words, seed, stop=(" s",)) for seed in range(20)]
    assert {reason for _, reason in ended} == {"stop"}
    assert all(re.fullmatch("[a-z]{3}", text) for text, _ in ended)
    with pytest.raises(RequestError, match="stop string ','"):
        random_answer(stories, Constraint.regex("[a-z]{3},[a-z]{3}"), 0, stop=(",",))


def test_end_tokens_come_exactly_where_the_answer_is_complete(stories: Grammars) -> None:
    """Stop tokens too: one that is also part of the language's texts is held back until then."""
    comma = next(id for id in range(512) if stories.tokenizer.token_bytes(id) == b",")
    for seed in range(20):
        text, reason = random_answer(stories, Constraint.regex("[a-z]{2,4},x?"), seed, stop_token_ids=(comma,), ignore_eos=True)
        assert reason == "stop" and re.fullmatch("[a-z]{2,4},x?", text)


def test_a_token_that_nothing_allows_is_an_error(stories: Grammars) -> None:
    with pytest.raises(RequestError, match="no token may come next"):
        random_answer(stories, Constraint.regex("[0-9]+"), 0, allowed_token_ids=[300])


def test_what_was_accepted_can_be_taken_back(grammars: Grammars) -> None:
    """As speculation needs it: several tokens at once, how many of a draft may come, and back again."""
    guide = grammars.guide(Constraint.gbnf('root ::= "(" root ")" | [0-9]{1,3}'), ())
    by_bytes = {grammars.tokenizer.token_bytes(id): id for id in range(grammars.tokenizer.vocab_size)}
    opening, closing, one = (by_bytes[text] for text in (b"(", b")", b"1"))
    guide.accept([opening])
    after_one = guide.mask().copy()
    assert guide.allowed([one, one, closing, closing]) == 3
    assert guide.allowed([closing]) == 0 and guide.allowed([10**6]) == 0
    guide.accept([opening, one])
    guide.start()
    assert not np.array_equal(guide.mask(), after_one) and not guide.complete
    guide.rollback(2)
    np.testing.assert_array_equal(guide.mask(), after_one)
    guide.accept([one, closing])
    assert guide.complete and guide.finished
    guide.rollback(1)
    assert not guide.complete
    with pytest.raises(RequestError, match="could not be followed"):
        guide.accept([opening])
