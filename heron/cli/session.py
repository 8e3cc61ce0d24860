"""One or many turns with a model in a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable

from heron.engine.model import Message, Model, Prompt
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, TemplateError
from heron.text.chat import ChatTemplate

LEAVE = ("/bye", "/exit", "/quit")


class Session:
    """Answers go to stdout as they come; ``note`` prints what is not part of them."""

    def __init__(self, model: Model, params: SamplingParams, system: str | None, raw: bool, note: Callable[[str], None]) -> None:
        self.model, self.params, self._note = model, params, note
        self.raw = raw or not self._has_template()
        self._history: list[Message] = [{"role": "system", "content": system}] if system else []
        if self.raw and system:
            note("--system needs a chat template and is ignored")
        self.seed = 0

    def _has_template(self) -> bool:
        try:
            ChatTemplate.from_tokenizer(self.model.tokenizer)
        except TemplateError:
            self._note("this model has no chat template; its text is continued as with --raw")
            return False
        return True

    def answer(self, text: str) -> bool:
        """Print the answer to ``text``. Ctrl-C ends it; returns whether it was left to finish."""
        message: Message = {"role": "user", "content": text}
        prompt: Prompt = text if self.raw else [*self._history, message]
        said, finished = "", True
        try:
            for piece in self.model.generate(prompt, self.params, stream=True):
                said += piece.text
                sys.stdout.write(piece.text)
                sys.stdout.flush()
        except KeyboardInterrupt:
            finished = False
        sys.stdout.write("\n")
        sys.stdout.flush()
        self.seed = self.model.seed
        self._history += [message, {"role": "assistant", "content": said}]
        if self.model.finish_reason == "length" and finished and self.params.max_tokens is None:
            self._note(f"the context of {self.model.context_length} tokens is full; load with a larger --ctx-size for more")
        return finished

    def talk(self, first: str | None = None) -> None:
        """Read and answer in turns until end of input or /bye. Ctrl-C stops an answer, not the conversation."""
        if sys.stdin.isatty():
            self._note("talk; Ctrl-C stops an answer, Ctrl-D or /bye ends")
        if first:
            self.answer(first)
        while True:
            try:
                text = input("> ").strip()
            except EOFError:
                return
            except KeyboardInterrupt:
                print()
                continue
            if text in LEAVE:
                return
            if text:
                try:
                    self.answer(text)
                except HeronError as error:
                    self._note(f"error: {error}")
