"""All that the pocket model knows of Heron, of all tables."""

from __future__ import annotations

from collections.abc import Iterable

import facts
import facts_files
import facts_serving
from fact import Fact


def merged(tables: Iterable[Fact]) -> tuple[Fact, ...]:
    """Facts with the same answer as one, which is asked for in the ways of all of them."""
    by_answer: dict[str, list[Fact]] = {}
    for fact in tables:
        by_answer.setdefault(fact.answer, []).append(fact)
    return tuple(
        Fact(
            answer,
            same[0].example,
            **{kind: tuple(dict.fromkeys(way for fact in same for way in getattr(fact, kind))) for kind in ("names", "do", "about", "ask")},
        )
        for answer, same in by_answer.items()
    )


FACTS = merged((*facts.FACTS, *facts_files.FACTS, *facts_serving.FACTS))
