"""Formulas in Markdown. CommonMark knows none, and takes their backslashes and underscores for its own."""

from __future__ import annotations

import re

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

#: As models write TeX; after and before single dollars there is no space, and no digit follows: 5 $ and 6 $ are sums of money.
_FORMULA = re.compile(r"\\\(.+?\\\)|\\\[.+?\\\]|\$\$.+?\$\$|\$(?=[^\s$])(?:[^$\n\\]|\\.)*?(?<=[^\s$])\$(?!\d)", re.DOTALL)


def formulas(parser: MarkdownIt) -> None:
    """Have the parser leave formulas as they are."""
    parser.inline.ruler.before("escape", "formula", _formula)


def _formula(state: StateInline, silent: bool) -> bool:
    found = _FORMULA.match(state.src, state.pos, state.posMax) if state.src[state.pos] in "\\$" else None
    if found is None:
        return False
    if not silent:
        state.push("text", "", 0).content = found[0]
    state.pos = found.end()
    return True
