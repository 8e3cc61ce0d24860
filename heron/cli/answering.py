"""One answer to one prompt."""

from __future__ import annotations

import sys
from collections.abc import Callable

from heron.engine.model import Message, Model, Prompt
from heron.engine.sampling import SamplingParams
from heron.errors import RequestError, TemplateError


def answer(
    model: Model, text: str, params: SamplingParams, system: str | None, raw: bool, note: Callable[[str], None], counted: bool
) -> None:
    """Print the answer to ``text`` as it comes; Ctrl-C ends it. ``note`` prints what is no part of it.

    ``counted`` says that so many tokens as ``params.max_tokens`` were asked for: an answer for which there is no room is an error
    then. Raises RequestError when the prompt does not fit in the context.
    """
    raw = raw or not _has_template(model, note)
    if raw and system:
        note("--system needs a chat template and is ignored")
    messages: list[Message] = [*([{"role": "system", "content": system}] if system else []), {"role": "user", "content": text}]
    prompt: Prompt = text if raw else messages
    count, finished = 0, True
    try:
        for count, piece in enumerate(model.generate(prompt, params, stream=True), 1):  # noqa: B007
            sys.stdout.write(piece.text)
            sys.stdout.flush()
    except KeyboardInterrupt:
        finished = False
    sys.stdout.write("\n")
    sys.stdout.flush()
    if not finished or model.finish_reason != "length":
        return
    asked = params.max_tokens
    if asked is None or count < asked:
        full = f"the context of {model.context_length} tokens is full after {count} tokens; a larger --ctx-size holds more"
        if asked is not None and counted:
            raise RequestError(full)
        note(full)
    elif not counted:
        note(f"the answer is cut after {asked} tokens; -n {4 * max(asked, 64)} allows more, -n -1 what the context holds")


def _has_template(model: Model, note: Callable[[str], None]) -> bool:
    try:
        return bool(model.template)
    except TemplateError:
        note("this model has no chat template; its text is continued as with --raw")
        return False
