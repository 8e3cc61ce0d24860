"""All that the pocket model knows of Heron: the facts of the tables, and the questions that people ask for them.

A folder of text files, asked/, has the questions that are written out, one a line, under a line "# " and the answer of their fact.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import facts
import facts_files
import facts_serving
from fact import Fact

ASKED = Path(__file__).with_name("asked")


def written_out(folder: Path) -> dict[str, list[str]]:
    """The questions of all files of a folder, by the answer that they are asked for."""
    questions: dict[str, list[str]] = {}
    for file in sorted(folder.glob("*.txt")):
        for line in filter(None, file.read_text(encoding="utf-8").splitlines()):
            if line.startswith("# "):
                of_answer = questions.setdefault(line[2:], [])
            else:
                of_answer.append(line)
    return questions


def merged(tables: Iterable[Fact], questions: dict[str, list[str]]) -> tuple[Fact, ...]:
    """Facts with the same answer as one, which is asked for in the ways of all of them, and by these questions."""
    by_answer: dict[str, list[Fact]] = {}
    for fact in tables:
        by_answer.setdefault(fact.answer, []).append(fact)
    if strangers := questions.keys() - by_answer.keys():
        raise ValueError(f"{ASKED} has questions for answers that no fact gives: {sorted(strangers)}")
    kinds = ("names", "do", "about", "ask")
    facts = [
        Fact(answer, same[0].example, **{kind: tuple(dict.fromkeys(way for fact in same for way in getattr(fact, kind))) for kind in kinds})
        for answer, same in by_answer.items()
    ]
    return tuple(replace(fact, ask=tuple(dict.fromkeys((*fact.ask, *questions.get(fact.answer, ()))))) for fact in facts)


FACTS = merged((*facts.FACTS, *facts_files.FACTS, *facts_serving.FACTS), written_out(ASKED))
