"""Patterns: "a [b|c [d|]]" stands for "a b", "a c d" and "a c". Without brackets a bar is a bar."""

from __future__ import annotations

import random
import re
from functools import cache

Node = str | list["Branch"]  # a text, or alternatives
Branch = list[Node]  # one after another


@cache
def parse(pattern: str) -> Branch:
    """A pattern as a tree: a branch is a list of texts and of lists of alternative branches."""

    def branch(at: int) -> tuple[Branch, int]:
        nodes: Branch = []
        while at < len(pattern) and pattern[at] not in "|]":
            if pattern[at] == "[":
                alternatives: list[Branch] = []
                while pattern[at] in "[|":
                    chosen, at = branch(at + 1)
                    alternatives.append(chosen)
                nodes.append(alternatives)
                at += 1
            else:
                text = re.compile(r"[^\[\]|]+").match(pattern, at)
                assert text is not None
                nodes.append(text.group())
                at = text.end()
        return nodes, at

    tree, end = branch(0)
    if end != len(pattern):
        raise ValueError(f"unbalanced brackets in {pattern!r} at {end}")
    return tree


def expand(rng: random.Random, pattern: str) -> str:
    """One of the texts that a pattern stands for."""

    def walk(nodes: Branch) -> str:
        return "".join(node if isinstance(node, str) else walk(rng.choice(node)) for node in nodes)

    return re.sub(r" +", " ", walk(parse(pattern)) if "[" in pattern else pattern).strip()
