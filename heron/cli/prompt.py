"""What the user asked: from options, a file, a pipe."""

from __future__ import annotations

import os
import select
import stat
import sys
from pathlib import Path

from heron.engine.constrain import Constraint
from heron.errors import RequestError

#: Seconds in which a pipe must begin to give text when there is a prompt already: nobody may be at its other end.
PATIENCE = 2.0


def note(text: str) -> None:
    """Say something that is no part of an answer."""
    print(f"heron: {text}", file=sys.stderr, flush=True)


def read_prompt(prompt: str | None, file: Path | None, interactive: bool) -> str | None:
    """-p, the file, and what is piped in, joined by line ends. None means to talk in turns.

    In a conversation stdin is not read here: its lines are the turns. The line end with which a file or a pipe closes is not
    part of a prompt. Raises RequestError for a file that cannot be read, text that is not UTF-8, and no prompt at all.
    """
    parts = [] if prompt is None else [prompt]
    if file is not None:
        parts.append(_read(file))
    if not interactive and not sys.stdin.isatty() and (not parts or _speaks()):
        piped = _text(sys.stdin.buffer.read(), "stdin")
        if piped:
            parts.append(piped)
        elif not parts:
            raise RequestError("there is no prompt: give -p or -f, pipe text in, or talk with -i")
    return "\n".join(parts) if parts else None


def constraint_of(json_schema: str | None, grammar: Path | None, regex: str | None) -> Constraint | None:
    """What an answer is held to; a schema may be JSON or the name of a file. Raises RequestError for more than one, and as ``_read``."""
    if sum(given is not None for given in (json_schema, grammar, regex)) > 1:
        raise RequestError("an answer can be held to one of --json-schema, --grammar and --regex alone")
    if json_schema is not None:
        return Constraint.schema(json_schema if json_schema.lstrip()[:1] in ("{", "") else _read(Path(json_schema)))
    if grammar is not None:
        text = _read(grammar)
        return Constraint.gbnf(text) if "::=" in text else Constraint.lark(text)
    return None if regex is None else Constraint.regex(regex)


def read_texts(texts: list[str], file: Path | None) -> list[str]:
    """The texts, then the lines of the file; or, with neither, the lines of stdin.

    Raises RequestError for an empty line, what cannot be read, and no text at all.
    """
    if file is None and not texts:
        if sys.stdin.isatty():
            raise RequestError("there is no text: name texts after the model, give -f, or pipe lines in")
        return _lines(_text(sys.stdin.buffer.read(), "stdin"), "stdin")
    return texts + ([] if file is None else _lines(_read(file), str(file)))


def _lines(text: str, where: str) -> list[str]:
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    for number, line in enumerate(lines, 1):
        if not line.strip():
            raise RequestError(f"line {number} of {where} is empty; each line is a text")
    return lines


def _read(file: Path) -> str:
    return _without_end(read_file(file))


def read_file(file: Path) -> str:
    """A file's text, all of it. Raises RequestError for one that cannot be read, and for text that is not UTF-8."""
    try:
        return _decoded(file.read_bytes(), str(file))
    except OSError as error:
        raise RequestError(f"the file {str(file)!r} cannot be read: {error.strerror}") from None


def _text(data: bytes, where: str) -> str:
    return _without_end(_decoded(data, where))


def _decoded(data: bytes, where: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise RequestError(f"what {where} holds is not UTF-8 text, at byte {error.start}") from None


def _without_end(text: str) -> str:
    return text.removesuffix("\n").removesuffix("\r")


def _speaks() -> bool:
    """Whether stdin is a file, or a pipe that gives text (or ends) soon."""
    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
    except (OSError, ValueError):
        return False
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return stat.S_ISREG(mode)
    try:
        ready = bool(select.select([sys.stdin], [], [], PATIENCE)[0])
    except OSError:  # not for pipes on Windows
        return True
    if not ready:
        note(f"nothing is piped in after {PATIENCE:g} s; answering the prompt alone")
    return ready
