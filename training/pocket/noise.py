"""What happens to a question between the thought and the screen: other words, greetings, slips, no question mark."""

from __future__ import annotations

import random

from frames import AFTER, ASIDE, BEFORE, CONTRACTIONS, STOP_WORDS
from patterns import expand
from thesaurus import LONGEST, SYNONYMS

#: Shares of the questions, or of their words, that each befalls.
KEYWORDS, BEFORE_SHARE, AFTER_SHARE, ASIDE_SHARE, STOPS, SLIPS = 0.06, 0.12, 0.10, 0.08, 0.12, 0.15
REWORDED, SYNONYM = 0.5, 0.2
LOST, WORD_LOST = 0.12, 0.15


def typed(rng: random.Random, text: str) -> str:
    """As people type: in words of their own, with a greeting or without, in lower case, without the question mark, with slips."""
    if rng.random() < REWORDED:
        text = reworded(rng, text)
    if rng.random() < KEYWORDS:
        text = keywords(rng, text)
    if rng.random() < LOST:
        text = " ".join(word for word in text.split() if rng.random() > WORD_LOST or not word.isalpha()) or text
    if rng.random() < ASIDE_SHARE:
        text = aside(rng, text)
    if rng.random() < BEFORE_SHARE:
        text = expand(rng, BEFORE) + " " + text
    if rng.random() < AFTER_SHARE:
        text += " " + expand(rng, AFTER)
    for whole, short in CONTRACTIONS.items():
        if rng.random() < 0.4:
            text = text.replace(whole, short)
    if rng.random() < STOPS:
        text = " ".join(word for word in text.split() if word.lower() not in STOP_WORDS or rng.random() < 0.5) or text
    if rng.random() < SLIPS:
        text = slip(rng, text)
    case = rng.random()
    if case < 0.4:
        text = text[:1].upper() + text[1:]
    elif case < 0.75 and "-" not in text:
        text = text.lower()
    if text[-1:] in "?.!":
        return text if rng.random() < 0.7 else text.rstrip("?.!")
    return text + rng.choices(("?", "", ".", "!", " ?", "??"), (45, 40, 9, 3, 2, 1))[0]


def reworded(rng: random.Random, text: str) -> str:
    """Some words and phrases are exchanged for others of the thesaurus. Flags and names are not in it."""
    words, said, at = text.split(), [], 0
    while at < len(words):
        for end in range(min(len(words), at + LONGEST), at, -1):
            phrase = " ".join(words[at:end])
            bare = phrase.rstrip(",.?!:;")
            if (others := SYNONYMS.get(bare.lower())) and rng.random() < SYNONYM:
                phrase = rng.choice(others) + phrase[len(bare) :]
                break
        said.append(phrase)
        at = end
    return " ".join(said)


def aside(rng: random.Random, text: str) -> str:
    """Something about oneself, before the question or after it."""
    thing = expand(rng, ASIDE)
    return rng.choice((f"{thing}. {text}", f"{thing}, {text}", f"{text}. {thing}", f"{text} ({thing})", f"{thing} - {text}"))


def keywords(rng: random.Random, text: str) -> str:
    """What one types into a search box: the words that carry the meaning, in any order."""
    words = [word for word in text.rstrip("?.!").split() if word.lower() not in STOP_WORDS]
    if rng.random() < 0.5:
        rng.shuffle(words)
    return " ".join(words) or text


def slip(rng: random.Random, text: str) -> str:
    """One letter of one word is lost, doubled, exchanged with the next, or another; names and flags stay."""
    words = text.split()
    places = [i for i, word in enumerate(words) if len(word) > 3 and word.isalpha()]
    if not places:
        return text
    place = rng.choice(places)
    word = words[place]
    at = rng.randrange(1, len(word) - 1)
    head, tail = word[:at], word[at + 1 :]
    letter = rng.choice("abcdefghijklmnopqrstuvwxyz")
    changed = (head + tail, head + word[at] + word[at:], head + tail[0] + word[at] + tail[1:], head + letter + tail)
    words[place] = rng.choice(changed)
    return " ".join(words)
