"""GBNF, llama.cpp's notation for grammars: its text as rules.

Notation: https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from string import hexdigits

from heron.errors import RequestError

#: Parentheses that may be open at a time.
MOST_DEPTH = 64
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "\\": "\\", '"': '"', "[": "[", "]": "]"}
_HEX_DIGITS = {"x": 2, "u": 4, "U": 8}


@dataclass(frozen=True)
class Chars:
    """One character: of these ranges, or of none of them."""

    ranges: tuple[tuple[int, int], ...]
    negated: bool = False


@dataclass(frozen=True)
class Ref:
    name: str


@dataclass(frozen=True)
class Sequence:
    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Choice:
    options: tuple[Expression, ...]


@dataclass(frozen=True)
class Repeat:
    item: Expression
    least: int
    most: int | None  # None: any number


Expression = Chars | Ref | Sequence | Choice | Repeat
Rules = Mapping[str, Expression]


class _Parser:
    """``at`` is where the text is read; each method reads what it is named after."""

    def __init__(self, text: str) -> None:
        self.text, self.at, self.depth = text, 0, 0

    def fail(self, what: str) -> RequestError:
        line = self.text.count("\n", 0, self.at) + 1
        return RequestError(f"the GBNF grammar, line {line}: {what}, before {self.text[self.at : self.at + 20]!r}")

    def peek(self, length: int = 1) -> str:
        return self.text[self.at : self.at + length]

    def found(self, what: str) -> bool:
        """Whether this comes next; if so it is read."""
        if not self.text.startswith(what, self.at):
            return False
        self.at += len(what)
        return True

    def expect(self, what: str) -> None:
        if not self.found(what):
            raise self.fail(f"{what} is missing")

    def space(self, newlines: bool) -> None:
        while self.at < len(self.text):
            if self.peek() == "#":
                end = self.text.find("\n", self.at)
                self.at = len(self.text) if end < 0 else end
            elif self.peek() in (" \t\r\n" if newlines else " \t"):
                self.at += 1
            else:
                return

    def while_(self, wanted: Callable[[str], bool], what: str) -> str:
        start = self.at
        while self.at < len(self.text) and wanted(self.text[self.at]):
            self.at += 1
        if self.at == start:
            raise self.fail(f"{what} is missing")
        return self.text[start : self.at]

    def name(self) -> str:
        return self.while_(_in_name, "a name")

    def number(self) -> int:
        digits = self.while_(lambda c: c in "0123456789", "a number")
        if len(digits) > 6:
            raise self.fail("a number has more than 6 digits")
        return int(digits)

    def rules(self) -> dict[str, Expression]:
        found: dict[str, Expression] = {}
        self.space(newlines=True)
        while self.at < len(self.text):
            name = self.name()
            self.space(newlines=False)
            self.expect("::=")
            self.space(newlines=True)
            found[name] = self.choice(nested=False)
            if self.at < len(self.text) and self.peek() not in "\r\n":
                raise self.fail("a rule ends with its line")
            self.space(newlines=True)
        return found

    def choice(self, nested: bool) -> Expression:
        options = [self.sequence(nested)]
        while self.found("|"):
            self.space(newlines=True)
            options.append(self.sequence(nested))
        return options[0] if len(options) == 1 else Choice(tuple(options))

    def sequence(self, nested: bool) -> Expression:
        items: list[Expression] = []
        while (item := self.item()) is not None:
            self.space(nested)
            if (counts := self.counts()) is not None:
                item = Repeat(item, *counts)
                self.space(nested)
            if self.counts() is not None:
                raise self.fail("an item has two counts; put it and the first into parentheses")
            items.append(item)
        return items[0] if len(items) == 1 else Sequence(tuple(items))

    def item(self) -> Expression | None:
        c = self.peek()
        if c == '"':
            return self.literal()
        if c == "[":
            return self.characters()
        if c == "(":
            return self.group()
        if c in ("<", "!"):
            raise self.fail("tokens in grammars are not supported; write the text that they stand for")
        if c and _in_name(c):
            return Ref(self.name())
        return Chars(((0, 0x10FFFF),)) if self.found(".") else None

    def group(self) -> Expression:
        self.depth += 1
        if self.depth > MOST_DEPTH:
            raise self.fail(f"more than {MOST_DEPTH} parentheses are open")
        self.expect("(")
        self.space(newlines=True)
        inner = self.choice(nested=True)
        self.expect(")")
        self.depth -= 1
        return inner

    def counts(self) -> tuple[int, int | None] | None:
        for sign, counts in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self.found(sign):
                return counts
        if not self.found("{"):
            return None
        self.space(newlines=True)
        least = self.number()
        most: int | None = least
        self.space(newlines=True)
        if self.found(","):
            self.space(newlines=True)
            most = self.number() if self.peek().isdigit() else None
            self.space(newlines=True)
        self.expect("}")
        if most is not None and most < least:
            raise self.fail("the second number of a repetition is less than the first")
        return least, most

    def character(self) -> int:
        if self.at >= len(self.text):
            raise self.fail("the grammar ends within a text")
        c = self.text[self.at]
        self.at += 1
        if c != "\\":
            return ord(c)
        kind = self.peek()
        self.at += 1
        if kind in _ESCAPES and kind:
            return ord(_ESCAPES[kind])
        count = _HEX_DIGITS.get(kind, 0)
        digits = self.peek(count)
        if not count or len(digits) < count or not set(digits) <= set(hexdigits):
            raise self.fail(f"\\{kind} is no escape")
        self.at += count
        return self.checked(int(digits, 16))

    def checked(self, code: int) -> int:
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise self.fail(f"U+{code:X} is no character")
        return code

    def literal(self) -> Expression:
        self.expect('"')
        codes: list[int] = []
        while not self.found('"'):
            codes.append(self.character())
        return Sequence(tuple(Chars(((code, code),)) for code in codes))

    def characters(self) -> Expression:
        self.expect("[")
        negated, ranges = self.found("^"), []
        while not self.found("]"):
            first = last = self.character()
            if self.peek() == "-" and self.peek(2) != "-]":
                self.expect("-")
                last = self.character()
                if last < first:
                    raise self.fail("a range runs backwards")
            ranges.append((first, last))
        return Chars(tuple(ranges), negated)


def _in_name(c: str) -> bool:
    return c.isascii() and (c.isalnum() or c in "-_")


def parse(text: str) -> dict[str, Expression]:
    """The rules by name, ``root`` among them. Raises RequestError for what is no GBNF, and for rules that derive no text."""
    rules = _Parser(text).rules()
    if "root" not in rules:
        raise RequestError("the GBNF grammar has no rule named root, with which it would begin")
    for name, rule in rules.items():
        if missing := sorted(ref for ref in refs(rule) if ref not in rules):
            raise RequestError(f"the GBNF grammar has no rule named {missing[0]}, which {name} refers to")
    if "root" not in _deriving(rules):
        raise RequestError("the GBNF grammar derives no text from root: its rules never come to an end")
    return rules


def parts(e: Expression) -> tuple[Expression, ...]:
    """What it is made of."""
    if isinstance(e, Sequence):
        return e.items
    if isinstance(e, Choice):
        return e.options
    return (e.item,) if isinstance(e, Repeat) else ()


def refs(e: Expression) -> Iterator[str]:
    """The names of the rules that it refers to."""
    if isinstance(e, Ref):
        yield e.name
    for part in parts(e):
        yield from refs(part)


def _deriving(rules: Rules) -> set[str]:
    """The rules that derive some text in finitely many steps."""
    users: dict[str, set[str]] = {name: set() for name in rules}
    for name, rule in rules.items():
        for ref in refs(rule):
            users[ref].add(name)
    found: set[str] = set()
    todo = list(rules)
    while todo:
        name = todo.pop()
        if name not in found and _derives(rules[name], found):
            found.add(name)
            todo += users[name]
    return found


def _derives(e: Expression, known: set[str]) -> bool:
    if isinstance(e, Ref):
        return e.name in known
    if isinstance(e, Chars):
        return e.negated or bool(e.ranges)
    if isinstance(e, Repeat) and e.least == 0:
        return True
    return (any if isinstance(e, Choice) else all)(_derives(part, known) for part in parts(e))
