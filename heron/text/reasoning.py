"""What a model thinks and what it answers: text as it comes, split at the marks that the model's template writes between the two."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from heron.text.tokenizer import Tokenizer

#: Tokens of a prompt's end among which a mark that opens the answer is looked for.
_TAIL = 32


@dataclass(frozen=True)
class Marks:
    """How a model marks its reasoning. ``sign`` is found in the source of its template, and in no other's.

    Reasoning begins after one of ``opens`` and ends before one of ``closes``; ``frame`` is marks around the answer. None of them is
    part of either. A block stands at the beginning of an answer, and what looks like a mark further on is text; unless one may come
    ``again``, as where marks are tokens that text cannot hold.
    """

    sign: str
    opens: tuple[str, ...]
    closes: tuple[str, ...]
    frame: tuple[str, ...] = ()
    again: bool = False


#: The first whose sign fits is a model's.
KNOWN = (
    Marks("<response></response>", ("<think>",), ("</think>",), ("<response>", "</response>")),  # Granite 3.3
    Marks("</seed:think>", ("<seed:think>",), ("</seed:think>",)),  # Seed-OSS
    Marks("</mm:think>", ("<mm:think>",), ("</mm:think>",)),  # MiniMax M3
    Marks("</think{}>", ("<think:opensource>",), ("</think:opensource>",)),  # Hunyuan 3
    Marks("[/THINK]", ("[THINK]",), ("[/THINK]",)),  # Magistral, Ministral
    Marks("<|inner_suffix|>", ("<|inner_prefix|>",), ("<|inner_suffix|>",), again=True),  # Apertus
    Marks("<|channel>thought", ("<|channel>thought",), ("<channel|>",), again=True),  # Gemma 4
    Marks(  # gpt-oss
        "<|channel|>analysis<|message|>",
        ("<|channel|>analysis<|message|>",),
        ("<|end|>", "<|start|>assistant", "<|channel|>final<|message|>", "<|channel|>commentary<|message|>"),
        again=True,
    ),
    Marks(  # Muse Glimmer
        " to=self<|message|>",
        (" to=self<|message|>",),
        ("<|eom|>", "<|start|>assistant", " to=user<|message|>"),
        again=True,
    ),
    Marks("assistant<|think|>", ("<|think|>",), ("<|end|>", "<|begin|>assistant", "<|content|>"), again=True),  # Solar Open
    Marks(  # Command R7B, Command A
        "<|END_THINKING|>",
        ("<|START_THINKING|>",),
        ("<|END_THINKING|>", "<|START_RESPONSE|>", "<|END_RESPONSE|>", "<|START_TEXT|>", "<|END_TEXT|>"),
        again=True,
    ),
    Marks("[BEGIN FINAL RESPONSE]", ("Here are my reasoning steps:",), ("[BEGIN FINAL RESPONSE]",), ("[END FINAL RESPONSE]",)),  # Apriel
    Marks("</think>", ("<think>",), ("</think>",)),  # DeepSeek, Qwen, GLM, Kimi, Nemotron, LFM, Step, Ling, Laguna, Spark
)


def marks_of(template: str) -> Marks | None:
    """The marks of the model with this template (its source); None: it has none, and all that it says is its answer."""
    return next((marks for marks in KNOWN if marks.sign in template), None)


class Part(NamedTuple):
    """Some text, of the reasoning or of the answer."""

    text: str
    reasoning: bool


class _At(Enum):
    START, REASONING, ANSWER = auto(), auto(), auto()


class Splitter:
    """Splits one answer. What may yet turn out to be a mark is held back, and so is white space beside one, which is dropped.

    A block that is never closed is reasoning to the end. Without ``marks`` all is the answer, as it comes.
    """

    def __init__(self, marks: Marks | None, prompt: str = "") -> None:
        """``prompt`` is text that ends as the prompt does: templates may open the block, or close it for a model that shall not think."""
        self._marks, self._held = marks, ""
        self._at, self._trims = (_At.ANSWER, False) if marks is None else _after(marks, prompt.rstrip())

    @staticmethod
    def of(template: str, tokenizer: Tokenizer, prompt: Sequence[int]) -> Splitter:
        """For the answer to a prompt, by the source of the template that made it."""
        marks = marks_of(template)
        return Splitter(marks, "" if marks is None else tokenizer.decode(prompt[-_TAIL:]))

    @property
    def reasoning(self) -> bool:
        """Whether what comes next is reasoning, as far as is known."""
        return self._at is _At.REASONING

    def push(self, text: str) -> list[Part]:
        """What this text completes."""
        if self._marks is None:
            return [Part(text, False)] if text else []
        self._held += text
        return list(self._parts(self._marks))

    def finish(self) -> list[Part]:
        """What is left at the end."""
        text, self._held = self._held, ""
        return list(self._part(text.rstrip() if self.reasoning else text))

    def _parts(self, marks: Marks) -> Iterator[Part]:
        if self._at is _At.START and not self._begun(marks):
            return
        while found := _first(self._held, self._wanted(marks)):
            at, mark = found
            before, self._held = self._held[:at], self._held[at + len(mark) :]
            yield from self._part(before.rstrip() if self.reasoning else before)
            self._enter(marks, mark)
        keep = _unsettled(self._held, self._wanted(marks))
        if self.reasoning:
            keep = len(self._held[:keep].rstrip())
        text, self._held = self._held[:keep], self._held[keep:]
        yield from self._part(text)

    def _begun(self, marks: Marks) -> bool:
        """Whether it is known what the answer begins with; a mark there is taken off, and white space before it."""
        text, leading = self._held.lstrip(), (*marks.opens, *marks.closes, *marks.frame)
        mark = next((mark for mark in leading if text.startswith(mark)), None)
        if mark is not None:
            self._held = text[len(mark) :]
            self._enter(marks, mark)
        elif any(mark.startswith(text) for mark in leading):
            return False
        else:
            self._at = _At.ANSWER
        return True

    def _wanted(self, marks: Marks) -> tuple[str, ...]:
        """The marks that are marks here."""
        if marks.again:
            return (*marks.opens, *marks.closes, *marks.frame)
        return marks.closes if self.reasoning else marks.frame

    def _enter(self, marks: Marks, mark: str) -> None:
        self._at, self._trims = _At.REASONING if mark in marks.opens else _At.ANSWER, True

    def _part(self, text: str) -> Iterator[Part]:
        if self._trims:
            text = text.lstrip()
        if text:
            self._trims = False
            yield Part(text, self.reasoning)


def _after(marks: Marks, prompt: str) -> tuple[_At, bool]:
    """Where an answer begins, and whether a mark stands right before it."""
    if prompt.endswith(marks.opens):
        return _At.REASONING, True
    if prompt.endswith((*marks.closes, *marks.frame)):
        return _At.ANSWER, True
    return _At.ANSWER if marks.again else _At.START, False


def _first(text: str, marks: Sequence[str]) -> tuple[int, str] | None:
    """The mark that begins first, and where."""
    found = [(at, mark) for mark in marks if (at := text.find(mark)) >= 0]
    return min(found, default=None)


def _unsettled(text: str, marks: Sequence[str]) -> int:
    """Where what may be the beginning of a mark begins; the text's length, if nothing is."""
    start = max(0, len(text) - max(map(len, marks), default=1) + 1)
    return next((at for at in range(start, len(text)) if any(mark.startswith(text[at:]) for mark in marks)), len(text))
