"""A fact that the pocket model knows, and the ways in which people ask for it.

In the patterns, "[a|b|]" stands for any of its alternatives; alternatives may hold brackets of their own.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fact:
    """One thing to know. A question is any pattern put into a frame of its kind; the reply is ``answer`` and ``example``."""

    answer: str
    example: str = ""  # a command or a line of Python
    names: tuple[str, ...] = ()  # what it is called: flags, functions, error classes
    do: tuple[str, ...] = ()  # what one wants to do, as a verb phrase: "set the seed"
    about: tuple[str, ...] = ()  # what one asks about, as a noun phrase: "the random seed"
    ask: tuple[str, ...] = ()  # whole questions and complaints

    @property
    def reply(self) -> str:
        return f"{self.answer} For example: `{self.example}`" if self.example else self.answer
