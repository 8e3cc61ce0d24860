"""What the shipped model knows: two sets of held-out questions, each written by somebody who had not seen what it learns from."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

import heron
from heron import pocket
from heron.backends import native

TRAINING = Path(__file__).resolve().parents[2] / "training/pocket"
SETS = {path.stem: json.loads(path.read_text(encoding="utf-8"))["questions"] for path in Path(__file__).parent.glob("questions*.json")}
LEAST_RIGHT = 72  # of 80: answers that hold every name that they have to

LITERALS = "import json; from knowledge import FACTS; print(json.dumps([ask for fact in FACTS for ask in (*fact.names, *fact.ask)]))"


def normalized(question: str) -> str:
    return " ".join(question.lower().strip(" ?.!").split())


def held_out() -> set[str]:
    return {normalized(question["ask"]) for questions in SETS.values() for question in questions}


def holds(text: str, name: str) -> bool:
    """``name`` may be alternatives with "|" between them; flags are whole words."""
    return any(re.search(rf"(?<![\w-]){one}(?![\w-])" if one[0] == "-" else re.escape(one), text) for one in name.split("|"))


def said(*command: str) -> str:
    return subprocess.run([sys.executable, *command], capture_output=True, text=True, check=True, cwd=TRAINING).stdout


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
@pytest.mark.parametrize("name", sorted(SETS))
def test_answers_name_the_right_command_and_flag(name: str) -> None:
    model = heron.load(pocket.path(), backend="native")
    questions, wrong = SETS[name], {}
    for question in questions:
        text = model.generate([{"role": "user", "content": question["ask"]}], temperature=0, max_tokens=100).text
        if not all(holds(text, name) for name in question["names"]):
            wrong[question["ask"]] = (question["names"], text)
    assert len(questions) - len(wrong) >= LEAST_RIGHT, f"{len(wrong)} wrong: {json.dumps(wrong, indent=2)}"


def test_held_out_questions_are_80_in_each_set() -> None:
    assert len(SETS) == 2
    assert len(held_out()) == 160 and all(len(questions) == 80 for questions in SETS.values())


def test_no_question_of_the_tables_is_held_out() -> None:
    literal = {normalized(ask) for ask in json.loads(said("-c", LITERALS))}
    assert len(literal) > 10_000
    assert not literal & held_out()


def test_no_dialogue_asks_a_held_out_question() -> None:
    lines = said("dialogues.py", "--count", "50000", "--seed", "0").splitlines()
    asked = {normalized(message["content"]) for line in lines for message in json.loads(line) if message["role"] == "user"}
    assert len(asked) > 25_000
    assert not asked & held_out()
