"""A conversation without a terminal: each line of the input is a turn, and answers are all that is printed."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable

from heron.chat.conversation import Conversation, Turn
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError

LEAVE = ("/bye", "/exit", "/quit")


def talk(
    conversation: Conversation, params: SamplingParams, first: str | None, note: Callable[[str], None], done: Callable[[Turn], None]
) -> None:
    """Until the end of the input, or a line that says so. Reasoning is not printed; errors are noted and end no conversation.

    ``done`` is told of each turn.
    """
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # bytes of another encoding end no conversation
    if first is not None:
        _answer(conversation, params, first, note, done)
    for line in sys.stdin:
        text = line.strip()
        if text in LEAVE:
            return
        if text:
            _answer(conversation, params, text, note, done)


def _answer(
    conversation: Conversation, params: SamplingParams, text: str, note: Callable[[str], None], done: Callable[[Turn], None]
) -> None:
    try:
        turn = conversation.ask(text, params)
        try:
            while not turn.over:
                sys.stdout.write("".join(part.text for part in turn.wait(1.0) if not part.reasoning))
                sys.stdout.flush()
        finally:
            turn.stop()
            sys.stdout.write("\n")
            sys.stdout.flush()
        conversation.keep(turn)
        done(turn)
    except HeronError as error:
        note(f"error: {error}")
