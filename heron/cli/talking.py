"""A conversation, in a terminal or out of one: what `heron chat` does, and `heron run` without a prompt."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from heron.chat.conversation import Conversation, Turn
from heron.chat.keyboard import hushed
from heron.chat.looks import Looks
from heron.cli.opening import locate, open_model
from heron.cli.prompt import note
from heron.engine.model import Model
from heron.engine.sampling import SamplingParams
from heron.hub import cache


def talk(
    model: str | None,
    params: SamplingParams,
    where: dict[str, Any],
    *,
    system: str | None = None,
    raw: bool = False,
    first: str | None = None,
    stats: bool = False,
    markdown: bool = True,
    hide_reasoning: bool = False,
    saved: Path | None = None,
) -> None:
    """Load the model and talk with it; ``first`` is said at once, ``saved`` gone on with."""
    in_terminal = sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    with hushed() if in_terminal else contextlib.nullcontext():
        loaded, name = _open(model, note, where)
        try:
            conversation = Conversation(loaded, name, system, raw)
        except BaseException:
            loaded.close()
            raise
        try:
            if in_terminal:
                _in_terminal(conversation, params, where, first, Looks(markdown, hide_reasoning, stats), saved)
            else:
                _in_pipe(conversation, params, first, stats, saved)
        finally:
            conversation.close()


def _in_terminal(
    conversation: Conversation, params: SamplingParams, where: dict[str, Any], first: str | None, looks: Looks, saved: Path | None
) -> None:
    from heron.chat.terminal import Terminal

    def opener(model: str, say: Callable[[str], None]) -> tuple[Model, str]:
        return _open(model, say, where)

    Terminal(conversation, params, looks, opener, _cached).talk(first, saved)


def _in_pipe(conversation: Conversation, params: SamplingParams, first: str | None, stats: bool, saved: Path | None) -> None:
    from heron.chat import meter, plain, store

    def done(turn: Turn) -> None:
        if stats:
            note(meter.stats(turn.timings, turn.generated))

    if saved is not None:
        conversation.replace(*store.load(saved)[:2])
    if not conversation.templated:
        note("this model has no chat template; its text is continued as with --raw")
    if conversation.raw and conversation.system:
        note("--system needs a chat template and is ignored")
    plain.talk(conversation, params, first, note, done)


def _open(model: str | None, say: Callable[[str], None], where: dict[str, Any]) -> tuple[Model, str]:
    """The model, and what it is called."""
    path = locate(model)
    return open_model(str(path), say, **where), "the pocket model" if model is None else cache.called(path)


def _cached() -> Iterator[str]:
    """Names of the models that are here."""
    yield from (str(each.name) for each in cache.models(cache.folder()) if each.path is not None)
