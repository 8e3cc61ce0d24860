"""One answer to one prompt."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable

import typer

from heron.chat.clean import inert
from heron.engine.model import Message, Model, Prompt
from heron.engine.sampling import SamplingParams
from heron.errors import RequestError, TemplateError
from heron.text.reasoning import Part, Splitter


def answer(
    model: Model,
    text: str,
    params: SamplingParams,
    system: str | None,
    raw: bool,
    note: Callable[[str], None],
    counted: bool,
    hide_reasoning: bool = False,
) -> None:
    """Print the answer to ``text`` as it comes, and its line's end whatever ends it. ``note`` prints what is no part of it.

    ``counted`` says that so many tokens as ``params.max_tokens`` were asked for: an answer for which there is no room is an error
    then. Raises RequestError when the prompt does not fit in the context.
    """
    raw = raw or not _has_template(model, note)
    if raw and system:
        note("--system needs a chat template and is ignored")
    messages: list[Message] = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]
    prompt: Prompt = text if raw else messages
    splitter = Splitter(None) if raw else model.splitter(model.encode(prompt), params.constraint is not None)
    pieces, printed, count = model.generate(prompt, params, stream=True), _Printed(hide_reasoning), 0
    try:
        for count, piece in enumerate(pieces, 1):  # noqa: B007
            printed.take(splitter.push(piece.text))
    finally:  # Ctrl-C too
        printed.take(splitter.finish())
        printed.end()
    _tell_end(model, params.max_tokens, count, "reasoning" if splitter.reasoning else "answer", note, counted)


def _tell_end(model: Model, asked: int | None, count: int, what: str, note: Callable[[str], None], counted: bool) -> None:
    """Say why there is no more, where that is not the model's own choice: ``what`` was under way."""
    if model.finish_reason != "length":
        if what == "reasoning":
            note("the model stopped while it was reasoning, and gave no answer")
    elif asked is None or count < asked:
        full = f"the context of {model.context_length} tokens is full after {count} tokens; a larger --ctx-size holds more"
        if asked is not None and counted:
            raise RequestError(full)
        note(full)
    elif what == "reasoning" or not counted:
        note(f"the {what} is cut after {asked} tokens; -n {4 * max(asked, 64)} allows more, -n -1 what the context holds")


class _Printed:
    """The answer on stdout, and reasoning dimmed on stderr if that is a terminal; else, or if it is hidden, nowhere."""

    def __init__(self, hide_reasoning: bool) -> None:
        self._shows_reasoning = sys.stderr.isatty() and os.environ.get("TERM") != "dumb" and not hide_reasoning
        self._to_terminal = sys.stdout.isatty()
        self._reasons = False

    def take(self, parts: Iterable[Part]) -> None:
        for text, reasoning in parts:
            if not reasoning:
                self._leave_reasoning()
                sys.stdout.write(inert(text) if self._to_terminal else text)
                sys.stdout.flush()
            elif self._shows_reasoning:
                self._reasons = True
                typer.secho(inert(text), dim=True, nl=False, err=True)

    def end(self) -> None:
        self._leave_reasoning()
        sys.stdout.write("\n")
        sys.stdout.flush()

    def _leave_reasoning(self) -> None:
        if self._reasons:
            self._reasons = False
            typer.echo("\n", err=True)


def _has_template(model: Model, note: Callable[[str], None]) -> bool:
    try:
        return bool(model.template)
    except TemplateError:
        note("this model has no chat template; its text is continued as with --raw")
        return False
