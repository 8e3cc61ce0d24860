"""One or many turns with a model in a terminal."""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Callable

from heron.engine.model import Message, Model, Prompt
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, RequestError, TemplateError

LEAVE = ("/bye", "/exit", "/quit")


class Session:
    """Answers go to stdout as they come; ``note`` prints what is not part of them.

    ``counted`` says that so many tokens as ``params.max_tokens`` were asked for: an answer for which there is no room is an error then.
    """

    def __init__(
        self,
        model: Model,
        params: SamplingParams,
        system: str | None,
        raw: bool,
        note: Callable[[str], None],
        counted: bool = False,
    ) -> None:
        self.model, self.params, self._note, self._counted = model, params, note, counted
        self.raw = raw or not self._has_template()
        self._history: list[Message] = [{"role": "system", "content": system}] if system else []
        if self.raw and system:
            note("--system needs a chat template and is ignored")

    def _has_template(self) -> bool:
        from heron.text.chat import ChatTemplate

        try:
            ChatTemplate.from_tokenizer(self.model.tokenizer)
        except TemplateError:
            self._note("this model has no chat template; its text is continued as with --raw")
            return False
        return True

    def answer(self, text: str) -> None:
        """Print the answer to ``text``. Ctrl-C ends it. Raises RequestError when it does not fit in the context."""
        message: Message = {"role": "user", "content": text}
        prompt: Prompt = text if self.raw else [*self._history, message]
        said, count, finished = "", 0, True
        try:
            for piece in self.model.generate(prompt, self.params, stream=True):
                said, count = said + piece.text, count + 1
                sys.stdout.write(piece.text)
                sys.stdout.flush()
        except KeyboardInterrupt:
            finished = False
        sys.stdout.write("\n")
        sys.stdout.flush()
        self._history += [message, {"role": "assistant", "content": said}]
        asked = self.params.max_tokens
        if not finished or self.model.finish_reason != "length":
            return
        if asked is None or count < asked:
            full = f"the context of {self.model.context_length} tokens is full after {count} tokens; a larger --ctx-size holds more"
            if asked is not None and self._counted:
                raise RequestError(full)
            self._note(full)
        elif not self._counted:
            self._note(f"the answer is cut after {asked} tokens; -n {4 * max(asked, 64)} allows more, -n -1 what the context holds")

    def talk(self, first: str | None = None) -> None:
        """Read and answer in turns until end of input or /bye. Ctrl-C stops an answer, not the conversation."""
        terminal = sys.stdin.isatty() and sys.stdout.isatty()
        if terminal:
            with contextlib.suppress(ImportError):  # arrow keys, where the system has them
                importlib.import_module("readline")
            self._note("talk; Ctrl-C stops an answer, Ctrl-D or /bye ends")
        if first is not None:
            self._turn(first)
        while True:
            try:
                text = input("> " if terminal else "").strip()
            except EOFError:
                if terminal:
                    print()
                return
            except KeyboardInterrupt:
                if not terminal:
                    raise
                print()
                continue
            if text in LEAVE:
                return
            if text:
                self._turn(text)

    def _turn(self, text: str) -> None:
        """An answer whose errors do not end the conversation."""
        try:
            self.answer(text)
        except HeronError as error:
            self._note(f"error: {error}")
