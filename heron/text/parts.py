"""What a tokenizer is made of, whichever file it came from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol


class Encoder(Protocol):
    """Text to ids, without what is added at its ends."""

    def encode(self, text: str, parse_special: bool, guard: str = "") -> list[int]:
        """Ids of `text`; special tokens in it are found when `parse_special`, and are text otherwise.

        Characters in `guard` keep special tokens that they stand in from being found, and are then taken out.
        """
        ...


class Segmenter(Protocol):
    """Text between special tokens to ids; `first` when nothing stands before it."""

    def __call__(self, text: str, first: bool) -> list[int]: ...


@dataclass
class Parts:
    """The data of a tokenizer.

    tokens         each id's text, as the file spells it
    piece          an id's bytes, as they appear in decoded text
    special        ids of control tokens, which mean something and are no text
    encoder        how text becomes ids
    prefix, suffix ids put before and after a text
    strip_space    decoded text loses one leading space, the one that encoding had put there
    bos, eos       ids that begin and end a text, if there are such
    ends           further ids after which a model has said all it has to say
    named          the texts that templates know as bos_token, eos_token ...
    chat_template  Jinja, if the file has one; `templates` holds further ones by name
    """

    tokens: Sequence[str]
    piece: Callable[[int], bytes]
    special: frozenset[int]
    encoder: Encoder
    prefix: list[int] = field(default_factory=list)
    suffix: list[int] = field(default_factory=list)
    strip_space: bool = False
    bos: int | None = None
    eos: int | None = None
    ends: frozenset[int] = frozenset()
    named: dict[str, str] = field(default_factory=dict)
    chat_template: str | None = None
    templates: dict[str, str] = field(default_factory=dict)


def find_tokens(tokens: Iterable[str]) -> re.Pattern[str] | None:
    """A regex whose one group finds these texts, the longest at each place; None when there are none.

    It branches as a trie does: a plain list of thousands of alternatives would be tried one by one at every character.
    """
    texts = sorted(set(filter(None, tokens)))
    return re.compile(f"({_branches(texts)})") if texts else None


def _branches(texts: list[str]) -> str:
    parts = []
    for _, group in groupby(texts, key=lambda text: text[0]):
        same = list(group)
        start = _common_start(same[0], same[-1])
        rest = [text[len(start) :] for text in same if text != start]
        parts.append(re.escape(start) + (f"(?:{_branches(rest)})" if rest else "") + ("?" if rest and start in same else ""))
    return "|".join(parts)


def _common_start(a: str, b: str) -> str:
    return a[: next((at for at, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))]


class Partition:
    """Finds special tokens in text, and gives what lies between them to a segmenter."""

    def __init__(
        self, segmenter: Segmenter, special: Mapping[str, int], defined: Mapping[str, int], strip_after: Iterable[str] = ()
    ) -> None:
        """`special` tokens are found only when asked for, `defined` ones always. Spaces right after those in `strip_after` are dropped."""
        self._segmenter = segmenter
        self._ids = {**special, **defined}
        self._all, self._defined = find_tokens(self._ids), find_tokens(defined)
        self._strip_after = frozenset(strip_after)

    def encode(self, text: str, parse_special: bool, guard: str = "") -> list[int]:
        """See Encoder. A guard keeps special tokens from being found; those that are always found are looked for once it is out."""
        finder = self._all if parse_special else self._defined
        if guard and finder is not self._defined:
            ids: list[int] = []
            for index, part in enumerate(finder.split(text) if finder else [text]):
                ids += [self._ids[part]] if index % 2 else self._plain(part.replace(guard, ""), self._defined, first=index == 0)
            return ids
        return self._plain(text.replace(guard, "") if guard else text, finder, first=True)

    def _plain(self, text: str, finder: re.Pattern[str] | None, first: bool) -> list[int]:
        ids: list[int] = []
        strip = False
        for index, part in enumerate(finder.split(text) if finder else [text]):
            if index % 2:
                ids.append(self._ids[part])
                strip = part in self._strip_after
                continue
            part = part.lstrip() if strip else part
            if part:
                ids += self._segmenter(part, first and index == 0)
        return ids
