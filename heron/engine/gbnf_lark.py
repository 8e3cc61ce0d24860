"""GBNF grammars in the notation that llguidance reads, deriving the same texts.

llguidance cuts text into lexemes, each as long as it can be, before it parses them; a GBNF grammar derives text character by
character. So that nothing is lost, a grammar without recursion becomes one regular expression, and in any other each character
is a lexeme.
"""

from __future__ import annotations

from collections.abc import Callable
from graphlib import CycleError, TopologicalSorter

from heron.engine.gbnf import Chars, Choice, Expression, Ref, Repeat, Rules, Sequence, parse, parts, refs

#: Characters of one regular expression, of all on the way to it, and how deeply groups may be nested; a grammar that would need
#: more is written as rules.
MOST_EXPRESSION, MOST_WRITTEN, MOST_NESTED = 1 << 16, 1 << 22, 100


def to_lark(text: str) -> str:
    """The grammar in Lark's notation, deriving the same texts. Raises RequestError."""
    rules = {name: _looped(name, rule) for name, rule in parse(text).items()}
    expression = _regular(rules)
    if expression is not None:
        return f"start: /{expression}/\n"
    names = {name: f"r{i}" for i, name in enumerate(rules)}
    body = "\n".join(f"{names[name]}: {_write(rule, lambda ref: names[ref], _lexeme, ' ')}" for name, rule in rules.items())
    return f"start: {names['root']}\n{body}\n"


def _looped(name: str, rule: Expression) -> Expression:
    """A rule that refers to itself at the ends of its options alone, as a loop: x ::= a x | b is a* b, x ::= x a | b is b a*."""
    options = [_items(option) for option in _options(rule)]
    others = [items for items in options if Ref(name) not in (items[:1] + items[-1:])]
    for at, rest in ((-1, slice(None, -1)), (0, slice(1, None))):
        loops = [items[rest] for items in options if items and items[at] == Ref(name)]
        pieces = [Sequence(items) for items in loops + others]
        if loops and others and len(loops) + len(others) == len(options) and not any(name in refs(piece) for piece in pieces):
            loop, other = Repeat(_choice(loops), 0, None), _choice(others)
            return Sequence((loop, other) if at else (other, loop))
    return rule


def _options(e: Expression) -> tuple[Expression, ...]:
    if isinstance(e, Repeat) and (e.least, e.most) == (0, 1):
        return (*_options(e.item), Sequence(()))
    return e.options if isinstance(e, Choice) else (e,)


def _items(e: Expression) -> tuple[Expression, ...]:
    return e.items if isinstance(e, Sequence) else (e,)


def _choice(options: list[tuple[Expression, ...]]) -> Expression:
    return Choice(tuple(Sequence(items) for items in options))


def _regular(rules: Rules) -> str | None:
    """One regular expression for all that root derives; None where there is none, for recursion, or where it is too long."""
    try:
        order = list(TopologicalSorter({name: set(refs(rule)) for name, rule in _reached(rules).items()}).static_order())
    except CycleError:
        return None
    written: dict[str, str] = {}
    nested: dict[str, int] = {}
    total = 0
    for name in order:
        written[name] = _write(rules[name], lambda ref: written[ref], _class, "")
        nested[name] = _nesting(rules[name], nested)
        total += len(written[name])
        if len(written[name]) > MOST_EXPRESSION or total > MOST_WRITTEN or nested[name] > MOST_NESTED:
            return None
    return written["root"]


def _nesting(e: Expression, of: dict[str, int]) -> int:
    if isinstance(e, Ref):
        return of[e.name]
    return (not isinstance(e, Sequence)) + max((_nesting(part, of) for part in parts(e)), default=0)


def _reached(rules: Rules) -> dict[str, Expression]:
    found: dict[str, Expression] = {}
    todo = ["root"]
    while todo:
        name = todo.pop()
        if name not in found:
            found[name] = rules[name]
            todo += refs(rules[name])
    return found


def _write(e: Expression, ref: Callable[[str], str], chars: Callable[[Chars], str], between: str) -> str:
    """As a regular expression, or as a rule of Lark's: they differ in references, characters and what stands between items."""
    if isinstance(e, Chars):
        return chars(e)
    if isinstance(e, Ref):
        return ref(e.name)
    opening = "(" if between else "(?:"
    inner = [_write(part, ref, chars, between) for part in parts(e)]
    if isinstance(e, Sequence):
        return between.join(inner) if inner else ('""' if between else "(?:)")
    if isinstance(e, Choice):
        return f"{opening}{'|'.join(inner)})"
    most = "" if e.most is None else e.most
    return f"{opening}{inner[0]}){{{e.least},{most}}}"


def _class(c: Chars) -> str:
    """A class of a regular expression."""
    if not c.ranges:
        return r"[\x{0}-\x{10FFFF}]" if c.negated else r"[^\x{0}-\x{10FFFF}]"
    inner = "".join(rf"\x{{{first:X}}}-\x{{{last:X}}}" if first < last else rf"\x{{{first:X}}}" for first, last in c.ranges)
    return f"[{'^' if c.negated else ''}{inner}]"


def _lexeme(c: Chars) -> str:
    return f"/{_class(c)}/"
