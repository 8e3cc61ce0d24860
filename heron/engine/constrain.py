"""Constraint: the language that an answer is in."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from heron.errors import RequestError

#: The kinds: what each is called in a message.
KINDS: dict[str, str] = {
    "json_object": "the JSON object",
    "json_schema": "the JSON schema",
    "gbnf": "the GBNF grammar",
    "lark": "the Lark grammar",
    "regex": "the regular expression",
}

#: Bytes of a schema, and of a grammar or an expression: such as can be compiled however deep they are (heron/engine/grammars.py).
MOST_SCHEMA_BYTES, MOST_GRAMMAR_BYTES = 1 << 18, 1 << 16


@dataclass(frozen=True)
class Constraint:
    """An answer is in this language, or the request ends with an error. ``text`` is the schema (JSON), grammar or expression.

    Raises RequestError for a kind that there is not, and a text that is too long or no text.
    """

    kind: str
    text: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise RequestError(f"there is no constraint of the kind {self.kind!r:.40}; known are {', '.join(KINDS)}")
        what = KINDS[self.kind]
        if not isinstance(self.text, str):
            raise RequestError(f"{what} is {self.text!r:.40}; give a text")
        try:
            size = len(self.text.encode())
        except UnicodeEncodeError:
            raise RequestError(f"{what} holds a lone surrogate; send valid Unicode") from None
        most = MOST_SCHEMA_BYTES if self.kind == "json_schema" else MOST_GRAMMAR_BYTES
        if size > most:
            raise RequestError(f"{what} has {size} bytes, more than {most}; make it shorter")

    @staticmethod
    def json() -> Constraint:
        """Any JSON object."""
        return Constraint("json_object")

    @staticmethod
    def schema(schema: Mapping[str, Any] | bool | str) -> Constraint:
        """JSON that is valid by a JSON schema, given as an object or as its text."""
        try:
            return Constraint("json_schema", schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False))
        except (TypeError, ValueError, RecursionError) as error:
            raise RequestError(f"the JSON schema cannot be written as JSON: {error}") from None

    @staticmethod
    def gbnf(text: str) -> Constraint:
        """What a grammar in llama.cpp's notation derives from ``root``."""
        return Constraint("gbnf", text)

    @staticmethod
    def lark(text: str) -> Constraint:
        """What a grammar in Lark's notation, as llguidance reads it, derives from ``start``."""
        return Constraint("lark", text)

    @staticmethod
    def regex(text: str) -> Constraint:
        """What a regular expression matches from beginning to end."""
        return Constraint("regex", text)
