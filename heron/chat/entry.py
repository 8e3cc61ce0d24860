"""The line that is typed: its history, its completions, its keys, and the toolbar below it."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app
from prompt_toolkit.completion import CompleteEvent, Completer, Completion, PathCompleter
from prompt_toolkit.document import Document
from prompt_toolkit.filters import Condition
from prompt_toolkit.formatted_text import StyleAndTextTuples
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input.typeahead import store_typeahead
from prompt_toolkit.key_binding import KeyBindings, KeyPress, KeyPressEvent
from prompt_toolkit.styles import Style

from heron.chat.clean import whole
from heron.chat.commands import COMMANDS, SETTINGS, is_open
from heron.chat.keyboard import mark_pastes

_STYLE = Style.from_dict(
    {
        "prompt": "bold ansigreen",
        "hint": "ansibrightblack",
        "bottom-toolbar": "noreverse ansibrightblack",
        "toolbar.high": "ansiyellow",
        "toolbar.full": "ansired bold",
    }
)


def history_file() -> Path:
    """Where what was asked is kept, for its owner alone."""
    base = os.environ.get("XDG_STATE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path("~/.local/state").expanduser()) / "heron" / "chat_history"


class Entry:
    """``read`` gives what was typed. ``models`` names the models that are here, ``toolbar`` what stands below."""

    def __init__(self, toolbar: Callable[[], StyleAndTextTuples], models: Callable[[], Iterable[str]]) -> None:
        self._session: PromptSession[str] = PromptSession(
            history=_history(),
            completer=CommandCompleter(models),
            complete_while_typing=Condition(lambda: get_app().current_buffer.text.startswith("/")),
            key_bindings=_keys(),
            multiline=True,
            prompt_continuation=lambda width, line, wraps: [("class:hint", "  ")],
            placeholder=lambda: [] if get_app().is_done else [("class:hint", "ask anything; /help lists commands")],
            bottom_toolbar=toolbar,
            style=_STYLE,
            include_default_pygments_style=False,
            enable_open_in_editor=True,
            enable_suspend=True,
        )
        self._typed: list[KeyPress] = []

    def read(self, draft: str = "") -> str:
        """What is typed, and before it what was typed while nobody asked, which stands in the place of the draft then.

        Raises EOFError for Ctrl-D, and KeyboardInterrupt for Ctrl-C in an empty line: elsewhere it empties the line.
        """
        self.listen()
        typed, self._typed = self._typed, []
        store_typeahead(self._session.input, typed)
        try:
            return whole(self._session.prompt([("class:prompt", "> ")], default="" if typed else draft))
        finally:
            mark_pastes()

    def listen(self) -> None:
        """Take what is typed while an answer comes, so that the terminal's own buffer never fills: Ctrl-C would not come through."""
        while keys := self._session.input.read_keys():
            self._typed += keys


class CommandCompleter(Completer):
    """Commands, and what they take. Paths are completed by the file system, models by what is in the cache, too."""

    def __init__(self, models: Callable[[], Iterable[str]]) -> None:
        self._models, self._paths = models, PathCompleter(expanduser=True)

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        if not text.startswith("/") or "\n" in text:
            return
        name, space, argument = text[1:].partition(" ")
        if not space:
            for known, command in COMMANDS.items():
                if known.startswith(name):
                    yield Completion(known, -len(name), display=f"/{known}", display_meta=command.about)
        elif name in COMMANDS:
            yield from self._arguments(COMMANDS[name].completes, argument, complete_event)

    def _arguments(self, kind: str, argument: str, event: CompleteEvent) -> Iterator[Completion]:
        words = {"model": self._models, "setting": lambda: SETTINGS, "switch": lambda: ("on", "off"), "clear": lambda: ("clear",)}
        if kind in words and " " not in argument:
            yield from (Completion(word, -len(argument)) for word in words[kind]() if word.startswith(argument))
        if kind in ("file", "model"):
            yield from self._paths.get_completions(Document(argument), event)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=Condition(lambda: get_app().current_buffer.complete_state is None or not _chosen()))
    def _(event: KeyPressEvent) -> None:
        buffer = event.current_buffer
        if is_open(buffer.text):
            buffer.insert_text("\n")
        else:
            buffer.validate_and_handle()

    @keys.add("enter", filter=Condition(lambda: _chosen()))
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.complete_state = None

    @keys.add("escape", "enter")
    @keys.add("c-j")
    def _(event: KeyPressEvent) -> None:
        event.current_buffer.insert_text("\n")

    @keys.add("c-c")
    def _(event: KeyPressEvent) -> None:
        if event.current_buffer.text:
            event.current_buffer.reset()
        else:
            event.app.exit(exception=KeyboardInterrupt)

    return keys


def _chosen() -> bool:
    """Whether a completion was picked from the menu: Enter takes it, and another one sends the line."""
    state = get_app().current_buffer.complete_state
    return state is not None and state.current_completion is not None


def _history() -> History:
    """In a file that is its owner's alone; where there can be none, until the end."""
    with contextlib.suppress(OSError, RuntimeError):  # a user without a home is a RuntimeError
        file = history_file()
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.chmod(0o600)
        if file.is_file():
            return _Kept(file)
    return InMemoryHistory()


class _Kept(FileHistory):
    """In a file, as long as there is one: a disk that is full ends no conversation."""

    def load_history_strings(self) -> Iterable[str]:
        with contextlib.suppress(OSError):
            return super().load_history_strings()
        return []

    def store_string(self, string: str) -> None:
        with contextlib.suppress(OSError):
            super().store_string(string)
