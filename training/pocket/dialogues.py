"""Writes the dialogues that the pocket model learns from: facts, put into questions as people type them.

`python training/pocket/dialogues.py --count 20` prints some. The same seed gives the same dialogues.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Callable, Iterator
from functools import cache
from itertools import islice
from pathlib import Path

from elsewhere import ELSEWHERE, REFUSAL, SMALL_TALK, THINGS
from facts import ABOUT, FACTS, UNKNOWN_COMMAND, Fact
from frames import AFTER, BEFORE, CONTRACTIONS, EXAMPLE_TURN, FRAMES, SECOND_TURN, STOP_WORDS, SYSTEM

Message = dict[str, str]
Node = str | list["Branch"]  # a text, or alternatives
Branch = list[Node]  # one after another

#: Held-out questions, by set: "dev" is looked at while the tables are written, "test" only measures.
QUESTIONS = Path(__file__).with_name("questions.json")

MAX_TURNS = 6


@cache
def parse(pattern: str) -> Branch:
    """ "a [b|c [d|e]]" as a tree: a branch is a list of texts and of lists of alternative branches."""

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

    return re.sub(r" +", " ", walk(parse(pattern))).strip()


def question(rng: random.Random, fact: Fact) -> str:
    """A clean question for a fact: one of its patterns in a frame."""
    kinds = {kind: getattr(fact, kind) for kind in FRAMES if getattr(fact, kind)}
    # A pattern of many alternatives counts for more than a name, and whole questions for less than verb phrases.
    weights = [len(patterns) * (0.4 if kind == "names" else 1.0) for kind, patterns in kinds.items()]
    kind = rng.choices(list(kinds), weights)[0]
    return fill(rng, rng.choice(FRAMES[kind]), rng.choice(kinds[kind]), verbatim=kind == "names")


def fill(rng: random.Random, frame: str, slot: str, verbatim: bool = False) -> str:
    text = slot if verbatim else expand(rng, slot)
    return expand(rng, frame).replace("{}", text)


def typed(rng: random.Random, text: str) -> str:
    """As people type: with a greeting or without, in lower case, without the question mark, with a slip."""
    if rng.random() < 0.08:
        text = keywords(rng, text)
    if rng.random() < 0.12:
        text = expand(rng, BEFORE) + " " + text
    if rng.random() < 0.12:
        text += " " + expand(rng, AFTER)
    if rng.random() < 0.06:
        thing = expand(rng, f"[{THINGS}]")
        text = rng.choice((f"I am writing about {thing}. {text}", f"{text} for my text about {thing}", f"{text}, I need it for {thing}"))
    for whole, short in CONTRACTIONS.items():
        if rng.random() < 0.4:
            text = text.replace(whole, short)
    if rng.random() < 0.12:
        words = text.split()
        text = " ".join(word for word in words if word not in STOP_WORDS or rng.random() < 0.5) or text
    if rng.random() < 0.1:
        text = slip(rng, text)
    case = rng.random()
    if case < 0.45:
        text = text[:1].upper() + text[1:]
    elif case < 0.75 and "-" not in text:
        text = text.lower()
    return text + rng.choices(("?", "", ".", "!", " ?", "??"), (45, 40, 9, 3, 2, 1))[0]


def keywords(rng: random.Random, text: str) -> str:
    """What one types into a search box: the words that carry the meaning, in any order."""
    words = [word for word in text.split() if word.lower() not in STOP_WORDS]
    rng.shuffle(words)
    return " ".join(words) or text


def slip(rng: random.Random, text: str) -> str:
    """One letter of one word is lost, doubled, or exchanged with the next; names and flags stay."""
    words = text.split()
    places = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    changed = (word[:at] + word[at + 1 :], word[:at] + word[at] + word[at:], word[:at] + word[at + 1] + word[at] + word[at + 2 :])
    words[place] = rng.choice(changed)
    return " ".join(words)


def mash(rng: random.Random, _: Fact) -> str:
    """Letters without a meaning."""
    return " ".join("".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(rng.randint(1, 3)))


Asker = Callable[[random.Random, Fact], str]
_ELSEWHERE = Fact(REFUSAL, ask=ELSEWHERE)

#: What is asked, how, and how often in proportion.
TOPICS: tuple[tuple[Fact, Asker, float], ...] = (
    *((fact, question, max(1.0, (len(fact.do) + len(fact.about) + len(fact.ask)) ** 0.5)) for fact in FACTS if fact is not UNKNOWN_COMMAND),
    *((fact, question, 2.0) for fact in SMALL_TALK),
    (UNKNOWN_COMMAND, question, 6.0),
    (_ELSEWHERE, question, 32.0),
    (_ELSEWHERE, mash, 0.5),
)


def dialogue(rng: random.Random, held_out: frozenset[str] = frozenset()) -> list[Message]:
    """One conversation: perhaps a system prompt, mostly one turn, sometimes a few."""
    messages: list[Message] = []
    if rng.random() < 0.3:
        messages.append({"role": "system", "content": expand(rng, SYSTEM)})
    turns = rng.choices(range(1, MAX_TURNS + 1), (82, 13, 2, 1, 1, 1))[0]
    fact: Fact | None = None
    for turn in range(turns):
        if fact is not None and fact.example and rng.random() < 0.15:
            ask, reply = typed(rng, expand(rng, EXAMPLE_TURN)), f"For example: `{fact.example}`"
        else:
            ask, reply, fact = fresh(rng, turn, held_out)
        messages += [{"role": "user", "content": ask}, {"role": "assistant", "content": reply}]
    return messages


def fresh(rng: random.Random, turn: int, held_out: frozenset[str]) -> tuple[str, str, Fact]:
    """A question on a new subject, its reply, and the fact. In later turns it may be short: "and the seed?"."""
    while True:
        fact, asker, _ = rng.choices(TOPICS, [weight for *_, weight in TOPICS])[0]
        if turn and fact.about and fact not in ABOUT and rng.random() < 0.35:
            ask = fill(rng, rng.choice(SECOND_TURN), rng.choice(fact.about))
        else:
            ask = asker(rng, fact)
        ask = typed(rng, ask)
        if normalized(ask) not in held_out:
            return ask, fact.reply, fact


def normalized(text: str) -> str:
    """A question without its case and its punctuation at the ends: two that are equal so are the same question."""
    return " ".join(text.lower().strip(" ?.!").split())


def held_out_questions() -> frozenset[str]:
    return frozenset(normalized(entry["ask"]) for entries in json.loads(QUESTIONS.read_text()).values() for entry in entries)


def dialogues(seed: int) -> Iterator[list[Message]]:
    """Conversations without end, none of which asks a held-out question."""
    rng, held_out = random.Random(seed), held_out_questions()
    while True:
        yield dialogue(rng, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Print training dialogues as JSON lines.")
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    for messages in islice(dialogues(args.seed), args.count):
        print(json.dumps(messages, ensure_ascii=False))


if __name__ == "__main__":
    main()
