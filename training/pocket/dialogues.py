"""Writes the dialogues that the pocket model learns from: facts, put into questions as people type them.

`python training/pocket/dialogues.py --count 20` prints some. The same seed gives the same dialogues.
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

from elsewhere import ELSEWHERE, REFUSAL, SMALL_TALK
from fact import Fact
from frames import EXAMPLE_TURN, FRAMES, SECOND_TURN, SYSTEM
from knowledge import FACTS
from noise import typed
from patterns import expand

Message = dict[str, str]

#: Questions that are looked at while the tables are written; and those that only measure, of which nothing but equality is asked here.
DEV = Path(__file__).with_name("questions.json")
HELD_OUT = sorted((Path(__file__).resolve().parents[2] / "tests/pocket").glob("questions*.json"))

ELSEWHERE_SHARE, MASH_SHARE, SMALL_TALK_SHARE = 0.13, 0.005, 0.05  # of the questions; the others are on facts
SYSTEM_SHARE = 0.15  # of the dialogues
TURNS = (96, 3, 1)  # how many dialogues of a hundred have 1, 2, ... turns
JOINED = 0.06  # of the whole questions are two at once
OF_PATTERN, OF_NAME = 3.0, 0.4  # weight of a pattern with alternatives, and of a name, beside a question written out


def question(rng: random.Random, fact: Fact) -> str:
    """A clean question for a fact: one of its patterns in a frame."""
    patterns = [(kind, pattern) for kind in FRAMES for pattern in getattr(fact, kind)]
    weights = [OF_NAME if kind == "names" else OF_PATTERN if "[" in pattern else 1.0 for kind, pattern in patterns]
    (kind, pattern), (other_kind, other) = rng.choices(patterns, weights, k=2)
    text = fill(rng, rng.choice(FRAMES[kind]), pattern, verbatim=kind == "names")
    if kind == other_kind == "ask" and rng.random() < JOINED:
        text += rng.choice((". ", ", ", "? ", " - ", ": ")) + expand(rng, other)
    return text


def fill(rng: random.Random, frame: str, slot: str, verbatim: bool = False) -> str:
    text = slot if verbatim else expand(rng, slot)
    return expand(rng, frame).replace("{}", text)


def mash(rng: random.Random) -> str:
    """Letters without a meaning."""
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(rng.randint(1, 3)))


ELSEWHERE_FACT = Fact(REFUSAL, ask=ELSEWHERE)


class Speaker:
    """Draws conversations on `facts`, none of which asks one of the `avoided` questions."""

    def __init__(self, seed: int, facts: Sequence[Fact] = FACTS, avoided: frozenset[str] = frozenset()) -> None:
        self.rng, self.facts, self.avoided = random.Random(seed), facts, avoided
        # Facts that can be asked for in many ways take more examples to learn, but none is to be starved.
        self.weights = [sum(OF_PATTERN if "[" in p else 1.0 for p in (*f.do, *f.about, *f.ask)) ** 0.5 for f in facts]

    def dialogue(self) -> list[Message]:
        """One conversation: perhaps a system prompt, mostly one turn, sometimes a few."""
        rng, messages = self.rng, []
        if rng.random() < SYSTEM_SHARE:
            messages.append({"role": "system", "content": expand(rng, SYSTEM)})
        fact: Fact | None = None
        for turn in range(rng.choices(range(1, len(TURNS) + 1), TURNS)[0]):
            if fact is not None and fact.example and rng.random() < 0.15:
                ask, reply = typed(rng, expand(rng, EXAMPLE_TURN)), f"For example: `{fact.example}`"
            else:
                fact, ask = self.ask(turn)
                reply = fact.reply
            messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": reply}]
        return messages

    def ask(self, turn: int) -> tuple[Fact, str]:
        """A fact, and a question for it. In later turns it may be short: "and the seed?"."""
        rng = self.rng
        while True:
            draw = rng.random()
            if draw < MASH_SHARE:
                return ELSEWHERE_FACT, mash(rng)
            if draw < MASH_SHARE + ELSEWHERE_SHARE:
                fact = ELSEWHERE_FACT
            elif draw < MASH_SHARE + ELSEWHERE_SHARE + SMALL_TALK_SHARE:
                fact = rng.choice(SMALL_TALK)
            else:
                fact = rng.choices(self.facts, self.weights)[0]
            short = turn > 0 and fact.about and rng.random() < 0.35
            asked = typed(rng, fill(rng, rng.choice(SECOND_TURN), rng.choice(fact.about)) if short else question(rng, fact))
            if normalized(asked) not in self.avoided:
                return fact, asked


def normalized(text: str) -> str:
    """A question without its case and its punctuation at the ends: two that are equal so are the same question."""
    return " ".join(text.lower().strip(" ?.!").split())


def avoided_questions() -> frozenset[str]:
    return frozenset(normalized(entry["ask"]) for path in (DEV, *HELD_OUT) for entry in json.loads(path.read_text())["questions"])


def without(facts: Sequence[Fact], every: int) -> tuple[list[Fact], list[tuple[str, Fact]]]:
    """The facts without each `every`th question that is written out, and these questions with their facts: to validate on."""
    kept, left_out = [], []
    for fact in facts:
        whole = [ask for ask in fact.ask if "[" not in ask][every // 2 :: every]
        left_out += [(ask, fact) for ask in whole]
        kept.append(replace(fact, ask=tuple(ask for ask in fact.ask if ask not in whole)))
    return kept, left_out


def dialogues(seed: int, facts: Sequence[Fact] = FACTS) -> Iterator[list[Message]]:
    """Conversations without end, none of which asks a question of the dev or the held-out set."""
    speaker = Speaker(seed, facts, avoided_questions())
    while True:
        yield speaker.dialogue()


def main() -> None:
    parser = argparse.ArgumentParser(description="Print training dialogues as JSON lines.")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for messages in islice(dialogues(args.seed), args.count):
        print(json.dumps(messages, ensure_ascii=False))


if __name__ == "__main__":
    main()
