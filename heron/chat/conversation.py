"""A conversation with a model: what was said, and the answer that is under way."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Sequence
from typing import Any

from heron.engine.engine import Engine
from heron.engine.generation import Piece, Timings
from heron.engine.model import Message, Model
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, RequestError, TemplateError
from heron.text.chat import encode_chat
from heron.text.reasoning import Part, Splitter
from heron.text.thinking import thinking


class Conversation:
    """Its turns are kept as messages, and sent anew each time: the engine's prefix cache holds what the model has read.

    ``raw``: there is no template, or none is wanted. Each text is continued by itself.
    """

    def __init__(self, model: Model, name: str, system: str | None = None, raw: bool = False) -> None:
        """The model is this conversation's from here on. Raises RequestError for one that gives no text."""
        self.system, self.messages = system, list[Message]()
        self._wants_raw = raw
        self.thinking = ""  # as heron.text.thinking has it
        self._open(model, name)

    def _open(self, model: Model, name: str) -> None:
        model.must_generate()
        self.engine, self.model, self.name = Engine(model, max_seqs=1), model, name
        self.templated = _has_template(model)
        self.raw = self._wants_raw or not self.templated
        self.measure()

    def change(self, model: Model, name: str) -> None:
        """Go on with another model. The one before is closed; where this one cannot be used, it stays."""
        before = self.engine
        self._open(model, name)
        _close(before)

    @property
    def room(self) -> int:
        """Tokens that the context holds."""
        return self.engine.context_length

    @property
    def turns(self) -> int:
        return sum(message["role"] == "user" for message in self.messages)

    def ask(self, text: str, params: SamplingParams) -> Turn:
        """Have it answered. Raises HeronError for what the template refuses, or what does not fit."""
        question: Message = {"role": "user", "content": text}
        ids = self.model.encode(text) if self.raw else self._encoded([*self._sent(), question])
        splitter = Splitter(None) if self.raw else self.model.splitter(ids, params.constraint is not None)
        return Turn(self.engine, question, ids, params, splitter, continues=self.raw)

    def keep(self, turn: Turn) -> bool:
        """A turn that has ended, as a part of the conversation; whether it is one. Without an answer it is not: templates refuse that."""
        answer: Message = {"role": "assistant", "content": turn.said(reasoning=False)}
        if not answer["content"].strip():
            return False
        if thought := turn.said(reasoning=True):
            answer["reasoning_content"] = thought
        self.messages += [turn.question, answer]
        self.used = turn.tokens
        return True

    def undo(self) -> str | None:
        """Take the last turn back. Returns its question; None where there is none."""
        at = next((at for at in reversed(range(len(self.messages))) if self.messages[at]["role"] == "user"), None)
        if at is None:
            return None
        question = str(self.messages[at]["content"])
        del self.messages[at:]
        self.measure()
        return question

    def drop(self, count: int) -> int:
        """Forget the oldest turns. Returns how many there were to forget."""
        starts = [at for at, message in enumerate(self.messages) if message["role"] == "user"]
        count = min(count, len(starts))
        self.messages = self.messages[starts[count] :] if count < len(starts) else []
        self.measure()
        return count

    def replace(self, messages: Sequence[Message], system: str | None) -> None:
        """Go on from another conversation."""
        self.messages, self.system = list(messages), system
        self.measure()

    def measure(self) -> None:
        """Count the tokens of what was said, where the template tells them without a question."""
        self.used = 0
        if self.messages and not self.raw:
            try:
                self.used = len(self._encoded(self._sent()))
            except HeronError:  # it will be known with the next answer
                return

    def close(self) -> None:
        _close(self.engine)

    def think(self, wish: str) -> None:
        """From here on. Raises RequestError where the template has no way to be told."""
        thinking(self.model.template, wish)
        self.thinking = wish

    def _encoded(self, messages: list[Message]) -> list[int]:
        told: dict[str, Any] = {}
        with contextlib.suppress(RequestError):  # another model's template
            told = thinking(self.model.template, self.thinking)
        return encode_chat(self.model.tokenizer, self.model.template, messages, **told)

    def _sent(self) -> list[Message]:
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.messages]


class Turn:
    """A question, and its answer as it comes."""

    def __init__(
        self, engine: Engine, question: Message, prompt: list[int], params: SamplingParams, splitter: Splitter, continues: bool
    ) -> None:
        self.question, self.params, self._engine, self._splitter = question, params, engine, splitter
        self._pieces: queue.SimpleQueue[Piece | Exception | None] = queue.SimpleQueue()
        self._parts: list[Part] = []
        self._request = engine.submit(prompt, params, deliver=self._pieces.put, continues=continues, splitter=splitter)
        self.over = False
        engine.start()

    def wait(self, seconds: float) -> list[Part]:
        """What has come, or comes within so long. Sets ``over`` at the end. Raises what ended the answer early."""
        parts: list[Part] = []
        try:
            item = self._pieces.get(timeout=seconds)
            while True:
                if isinstance(item, Exception):
                    raise item
                self.over = item is None
                parts += self._splitter.finish() if item is None else self._splitter.push(item.text)
                item = self._pieces.get_nowait()
        except queue.Empty:
            pass
        finally:
            self._parts += parts
        return parts

    def stop(self) -> None:
        """End it here. What was said stays."""
        self._engine.cancel(self._request)

    def said(self, reasoning: bool) -> str:
        return "".join(part.text for part in self._parts if part.reasoning == reasoning)

    @property
    def tokens(self) -> int:
        """Of the question with all before it, and of the answer."""
        return self._request.answer.position

    @property
    def generated(self) -> int:
        return self._request.answer.generated

    @property
    def seed(self) -> int:
        return self._request.answer.seed

    @property
    def timings(self) -> Timings:
        return self._request.timings

    @property
    def interrupted(self) -> bool:
        """Whether it was stopped; the engine may not have noticed yet."""
        return self._request.finish_reason in ("cancelled", "")

    @property
    def cut(self) -> bool:
        """Whether it ended for want of room, or of the tokens that it was allowed."""
        return self._request.finish_reason == "length"


def _has_template(model: Model) -> bool:
    try:
        return bool(model.template)
    except TemplateError:
        return False


def _close(engine: Engine) -> None:
    model = engine.model
    engine.close()
    model.close()
