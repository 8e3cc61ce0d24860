"""A conversation in a terminal: the loop, and what commands can do to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from heron.chat import commands, meter, store
from heron.chat.clean import inert
from heron.chat.conversation import Conversation, Turn
from heron.chat.keyboard import quiet
from heron.chat.lines import console_for
from heron.chat.looks import Looks
from heron.chat.view import View
from heron.engine.model import Model
from heron.engine.sampling import SamplingParams
from heron.errors import HeronError, RequestError, TemplateError
from heron.text.reasoning import Part

if TYPE_CHECKING:
    from prompt_toolkit.formatted_text import StyleAndTextTuples

    from heron.chat.entry import Entry

#: Seconds between two looks at what has come, so that the screen moves while nothing comes.
_LOOK = 0.08

#: What may go wrong in a turn or a command without ending the conversation.
_FAILURES = (HeronError, OSError, MemoryError)


class Terminal:
    """``opener`` loads a model by its name, saying what it must; ``models`` names those that are here."""

    def __init__(
        self,
        conversation: Conversation,
        params: SamplingParams,
        looks: Looks,
        opener: Callable[[str, Callable[[str], None]], tuple[Model, str]],
        models: Callable[[], Iterable[str]],
    ) -> None:
        self.conversation, self.params, self._looks, self._opener, self._models = conversation, params, looks, opener, models
        self.stats = looks.stats
        self.owned: set[Path] = set()  # files that this conversation may write again
        self.draft = ""  # what stands in the next prompt
        self._console = console_for()
        self._listen: Callable[[], None] = lambda: None
        self._speed = 0.0

    # The loop

    def talk(self, first: str | None = None, saved: Path | None = None) -> None:
        """Until Ctrl-D, /bye, or Ctrl-C twice in an empty line. Raises RequestError and OSError where ``saved`` cannot be loaded."""
        from heron.chat.entry import Entry  # what it imports takes a while

        entry = Entry(self._toolbar, self._models)
        self._listen = entry.listen
        self._greet()
        if saved is not None:
            self.load(saved.expanduser().resolve())
        if first is not None:
            self._print(Text(f"> {inert(first)}", "bold"))
            self._turn(first)
        with contextlib.suppress(EOFError, commands.Leave):
            while (text := self._read(entry)) is not None:
                try:
                    self._line(text)
                except KeyboardInterrupt:  # what a command does; an answer counts them
                    self.say("stopped")

    def _read(self, entry: Entry) -> str | None:
        """What is typed next; None for Ctrl-C twice. Raises EOFError."""
        draft, self.draft = self.draft, ""
        try:
            return entry.read(draft)
        except KeyboardInterrupt:
            with contextlib.suppress(KeyboardInterrupt):
                self.say("Ctrl-C again leaves, and so do Ctrl-D and /bye")
                return entry.read()
        return None

    def _line(self, text: str) -> None:
        """A command, or a question. Raises what ends the conversation."""
        command = commands.command_of(text)
        if command is not None:
            self._command(*command)
        elif text := commands.unquoted(text):
            self._turn(text)

    def _greet(self) -> None:
        self.say(self.described())
        if not self.conversation.templated:
            self.say("this model has no chat template: each text is continued by itself, and nothing is remembered")
        if self.conversation.raw and self.conversation.system:
            self.say("a system message needs a chat template, and is ignored")

    def _command(self, name: str, argument: str) -> None:
        try:
            commands.run(self, name, argument)
        except _FAILURES as error:
            self._fail(error)

    def _turn(self, text: str) -> None:
        if not self.answer(text, self.params):
            self.draft = text

    def answer(self, text: str, params: SamplingParams) -> bool:
        """Show the answer and keep it; what goes wrong is shown. Returns whether there was one."""
        self._print()
        try:
            turn, kept = self._shown(text, params)
        except _FAILURES as error:
            self._fail(error)
            if isinstance(error, TemplateError) and self.conversation.system:
                self.say("there is a system message, which some templates refuse; /system clear takes it away")
            return False
        self._speed = meter.speed(turn.timings)
        self._remark(turn, kept)
        self._print()
        return kept

    def _shown(self, text: str, params: SamplingParams) -> tuple[Turn, bool]:
        """Have it answered, and keep the answer, if there is one. Ctrl-C stops it; once more, and what it computes is not waited for."""
        view = View(self._console, self.size, self._looks.markdown, self._looks.hide_reasoning)
        with quiet(view.again) as interrupts:
            turn = self.conversation.ask(text, params)
            try:
                while not turn.over and interrupts.count < 2:
                    if interrupts.count:
                        turn.stop()
                    view.take(turn.wait(_LOOK))
                    view.draw()
                    self._listen()
            finally:
                turn.stop()
                view.end()
            return turn, self.conversation.keep(turn)

    def _remark(self, turn: Turn, kept: bool) -> None:
        """What is to be said of an answer, beside it."""
        used, room = turn.tokens, self.conversation.room
        if turn.interrupted:
            self.say("stopped")
        elif not kept and not turn.cut:
            self.say("the model gave no answer")
        elif turn.cut and used < room:
            self.say(f"cut after {turn.generated} tokens; /set max_tokens none allows what the context holds")
        elif turn.cut and (self.conversation.raw or not kept):
            self.say(f"cut after {turn.generated} tokens: the context of {room:,} is full")
        if self.stats:
            self.say(meter.stats(turn.timings, turn.generated))
        if kept and not self.conversation.raw and meter.level(used, room) == "full":
            full = "full" if used >= room else "nearly full"
            self.say(f"the context is {full}: {self.counted()}; /drop forgets the oldest turn, /clear all", "yellow")

    # For commands

    def say(self, text: str, style: str = "dim") -> None:
        self._print(Text(inert(text), style))

    def table(self, rows: Sequence[tuple[str, str]]) -> None:
        table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
        table.add_column(style="bold")
        table.add_column(style="dim", overflow="fold")
        for name, about in rows:
            table.add_row(Text(name), Text(about))
        self._print(table)

    def described(self) -> str:
        conversation = self.conversation
        model = conversation.model
        where = model.backend + ("" if model.device == "cpu" else f" on {model.device}")
        return f"{inert(conversation.name)} · {conversation.room:,} tokens of context · {where}"

    def counted(self) -> str:
        used, room = self.conversation.used, self.conversation.room
        return f"{used:,} of {room:,} tokens, {100 * used // room} %, in {_plural(self.conversation.turns, 'turn')}"

    def path(self, argument: str, command: str) -> Path:
        """A file's name, as it is typed. Raises RequestError for none."""
        if not argument:
            raise RequestError(f"{command} takes a file: {command} talk.json")
        return Path(argument).expanduser().resolve()

    def load(self, path: Path) -> None:
        """Go on with a conversation of a file. Raises RequestError and OSError."""
        messages, system, ours = store.load(path)
        self.conversation.replace(messages, system)
        if ours:
            self.owned.add(path)
        self.say(f"loaded {path.name}: {self.counted()}")
        for message in messages[-2:]:
            self._print()
            if message["role"] == "user":
                self._print(Text(f"> {inert(message['content'])}", "bold"))
            else:
                view = View(self._console, self.size, self._looks.markdown, self._looks.hide_reasoning)
                view.take([Part(message["content"], False)])
                view.end()
        if messages:
            self._print()

    def change_model(self, name: str) -> None:
        """Raises what loading raises; the model before it stays then."""
        self.say(f"loading {name}")
        model, called = self._opener(name, self.say)
        try:
            self.conversation.change(model, called)
        except BaseException:
            model.close()
            raise
        self._speed = 0.0
        self._greet()

    @staticmethod
    def size() -> os.terminal_size:
        """The terminal's own, whatever COLUMNS and LINES say of another one."""
        try:
            size = os.get_terminal_size(sys.stdout.fileno())
        except (OSError, ValueError):
            return shutil.get_terminal_size()
        return size if size.columns and size.lines else os.terminal_size((80, 24))

    def _print(self, *shown: Text | Table) -> None:
        self._console.print(*shown, width=self.size().columns)

    def _fail(self, error: Exception) -> None:
        said = str(error) or "there is not enough memory"
        if isinstance(error, OSError) and error.strerror:
            said = f"{error.strerror}: {error.filename}" if error.filename else error.strerror
        self.say(f"error: {said}", "red")

    def _toolbar(self) -> StyleAndTextTuples:
        conversation = self.conversation
        left, middle, right = meter.toolbar(
            inert(conversation.name), conversation.used, conversation.room, self._speed, self.size().columns
        )
        level = meter.level(conversation.used, conversation.room)
        return [("", f" {left}   "), (f"class:toolbar.{level}", middle), ("", f"   {right}")]


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"
