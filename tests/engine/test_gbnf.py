"""GBNF: random grammars against a direct reading of what they derive, and what is refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

from heron.engine.constrain import Constraint
from heron.engine.gbnf import Chars, Choice, Expression, Ref, Repeat, Sequence, parse
from heron.engine.gbnf_lark import to_lark
from heron.engine.grammars import Grammars
from heron.errors import RequestError
from heron.text.tokenizer import Tokenizer

pytest.importorskip("llguidance")


@pytest.fixture(scope="module")
def grammars(shared: Path) -> Grammars:
    return Grammars(Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf"))


def derives(rules: dict[str, Expression], text: str) -> bool:
    """By the least fixed point of where each rule can end, begun at each place."""
    ends: dict[tuple[str, int], set[int]] = {(name, at): set() for name in rules for at in range(len(text) + 1)}

    def of(e: Expression, at: int) -> set[int]:
        if isinstance(e, Chars):
            found = at < len(text) and any(first <= ord(text[at]) <= last for first, last in e.ranges)
            return {at + 1} if at < len(text) and found != e.negated else set()
        if isinstance(e, Ref):
            return ends[e.name, at]
        if isinstance(e, Choice):
            return set().union(*(of(option, at) for option in e.options))
        if isinstance(e, Sequence):
            places = {at}
            for item in e.items:
                places = set().union(*(of(item, place) for place in places))
            return places
        assert isinstance(e, Repeat)
        places, found = {at}, {at} if e.least == 0 else set()
        for count in range(1, (len(text) + e.least if e.most is None else e.most) + 1):
            places = set().union(*(of(e.item, place) for place in places))
            found |= places if count >= e.least else set()
        return found

    while True:
        before = sum(map(len, ends.values()))
        for name, at in ends:
            ends[name, at] |= of(rules[name], at)
        if sum(map(len, ends.values())) == before:
            return len(text) in ends["root", 0]


def random_grammar(rng: np.random.Generator) -> str:
    names = ["root", "x", "y-2"]

    def expression(depth: int) -> str:
        kind = rng.integers(9 if depth else 4)
        if kind < 2:
            return str(rng.choice(['"a"', '"b"', '"ab"', '""', "[ab]", "[^a]", "[a-b]"]))
        if kind < 4:
            return str(rng.choice([*names, '"a"', "."]))
        if kind < 6:
            return f"{expression(depth - 1)} {expression(depth - 1)}"
        if kind == 6:
            return f"({expression(depth - 1)} | {expression(depth - 1)})"
        return f"({expression(depth - 1)}){rng.choice(['*', '+', '?', '{2}', '{1,2}', '{0,3}', '{1,}'])}"

    return "\n".join(f"{name} ::= {expression(2)} | {expression(1)}" for name in names)


TEXTS = ["".join(letters) for length in range(5) for letters in itertools.product("ab", repeat=length)]


def test_random_grammars_derive_what_they_say(grammars: Grammars) -> None:
    used, recursive = 0, 0
    for seed in range(150):
        text = random_grammar(np.random.default_rng(seed))
        try:
            rules = parse(text)
        except RequestError:  # it derives no text; that much is seen below
            continue
        used += 1
        recursive += "start: /" not in to_lark(text)
        guide = grammars.guide(Constraint.gbnf(text), ())
        for given in TEXTS:
            assert guide.holds(given) == derives(rules, given), f"{given!r} by\n{text}"
    assert used > 100 and recursive > 50


@pytest.mark.parametrize(
    "rule", ["([ab] x)?", '| "a" x | "b" x', 'x "a" | x "b" | "c"', '"a" x | "b"', 'x | "a"', '"a" x "b" | "c"', '"a" x | x "b" | "c"']
)
def test_rules_that_end_or_begin_with_themselves(grammars: Grammars, rule: str) -> None:
    """They are loops, and then often one expression; what is no loop stays as it is."""
    text = f'root ::= "(" x ")"\nx ::= {rule}'
    guide, rules = grammars.guide(Constraint.gbnf(text), ()), parse(text)
    given = [f"({''.join(letters)})" for length in range(4) for letters in itertools.product("abc", repeat=length)]
    assert [guide.holds(one) for one in given] == [derives(rules, one) for one in given]
    assert ("start: /" in to_lark(text)) == (rule not in ('"a" x "b" | "c"', '"a" x | x "b" | "c"'))


def test_what_a_longest_lexeme_would_lose_is_kept(grammars: Grammars) -> None:
    guide = grammars.guide(Constraint.gbnf('root ::= [a-z]* "a" x\nx ::= "b" x | "b"'), ())
    assert guide.holds("aab") and guide.holds("xyzabb") and not guide.holds("xyza")


@pytest.mark.parametrize(
    ("text", "holds", "not_"),
    [
        (r'root ::= "\"\\\n\t" "\x41\u00e9\U0001F600"', '"\\\n\tAé😀', "x"),
        (r"root ::= [\]\[^-] [a-] [\x30-9/]", "]-/", "a-/"),
        ('root ::= # a comment\n  x  # another\n\nx ::= (\n  "a"\n  | "b" y\n)\ny ::= "c"', "bc", "b"),
        ('root ::= "a"{2,3}', "aaa", "a"),
        ("root ::= .", "\n", ""),
        ('root::="a"\r\n', "a", "b"),
    ],
)
def test_notation(grammars: Grammars, text: str, holds: str, not_: str) -> None:
    rules = parse(text)
    guide = grammars.guide(Constraint.gbnf(text), ())
    assert derives(rules, holds) and guide.holds(holds)
    assert not derives(rules, not_) and not guide.holds(not_)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "no rule named root"),
        ('x ::= "a"', "no rule named root"),
        ("root ::= x", "no rule named x"),
        ('root ::= "a', "ends within a text"),
        ("root ::= [a", "ends within a text"),
        ('root ::= ("a"', r"\) is missing"),
        ('root ::= "a")', "ends with its line"),
        ('root = "a"', "::= is missing"),
        (r'root ::= "\q"', "no escape"),
        (r'root ::= "\u12"', "no escape"),
        (r'root ::= "\uD800"', "no character"),
        ("root ::= [z-a]", "runs backwards"),
        ('root ::= "a"{3,1}', "less than the first"),
        ('root ::= "a"{', "a number is missing"),
        ('root ::= "a"{99999999}', "6 digits"),
        ('root ::= "a"+?', "two counts"),
        ("root ::= <think>", "tokens in grammars"),
        ("root ::= root", "derives no text"),
        ('root ::= "a" root', "derives no text"),
        ("root ::= []", "derives no text"),
        ("root ::= " + "(" * 1000 + '"a"' + ")" * 1000, "more than 64 parentheses"),
    ],
)
def test_what_is_no_grammar_is_refused_with_its_place(text: str, what: str) -> None:
    with pytest.raises(RequestError, match=what):
        to_lark(text)
