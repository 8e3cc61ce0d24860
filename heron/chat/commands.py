"""What can be told to the program itself, in lines that begin with a slash."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heron.chat import store
from heron.engine.sampling import SamplingParams
from heron.errors import RequestError

if TYPE_CHECKING:
    from heron.chat.terminal import Terminal

#: A path, or a fraction, is no command.
_COMMAND = re.compile(r"/([A-Za-z?]+)(?:\s+(.*))?", re.DOTALL)

#: Around several lines.
QUOTES = '"""'

#: Other names that people try.
_ALSO = {"exit": "bye", "quit": "bye", "q": "bye", "?": "help", "retry": "regenerate", "regen": "regenerate"}

#: What /set takes: whether the model thinks, and sampling parameters: numbers, and texts that end an answer.
SETTINGS = (
    "thinking",
    *("temperature", "top_k", "top_p", "min_p", "typical_p", "repeat_penalty", "repeat_last_n", "frequency_penalty", "presence_penalty"),
    *("mirostat", "mirostat_tau", "mirostat_eta", "seed", "max_tokens", "stop"),
)

#: What stands for no limit, or for drawing a seed.
_NONE = ("none", "off", "-1")


@dataclass(frozen=True)
class Command:
    """``takes`` is how its argument is written, ``completes`` what it may be: model, file, setting, switch or nothing."""

    takes: str
    about: str
    run: Callable[[Terminal, str], None]
    completes: str = ""


class Leave(Exception):
    """The conversation is over."""


def command_of(line: str) -> tuple[str, str] | None:
    """The name and the argument, where a line is a command: it begins with its slash."""
    found = _COMMAND.fullmatch(line.rstrip())
    return (found[1].lower(), (found[2] or "").strip()) if found else None


def unquoted(text: str) -> str:
    """Without white space, and quotes, around it."""
    text = text.strip()
    if text.startswith(QUOTES):
        text = text[len(QUOTES) :].removesuffix(QUOTES).strip("\n")
    return text


def is_open(text: str) -> bool:
    """Whether quotes were opened and not closed."""
    text = text.strip()
    return text.startswith(QUOTES) and not (len(text) >= 2 * len(QUOTES) and text.endswith(QUOTES))


def run(terminal: Terminal, name: str, argument: str) -> None:
    """Raises RequestError for one that there is not, naming the nearest, and what the command raises."""
    known = COMMANDS.get(_ALSO.get(name, name))
    if known is None:
        begun = [each for each in COMMANDS if each.startswith(name)]
        near = begun or [_ALSO.get(each, each) for each in difflib.get_close_matches(name, [*COMMANDS, *_ALSO], 1)]
        hint = (
            f"did you mean {' or '.join(f'/{each}' for each in near)}?"
            if near
            else "/help lists those that there are, and a space before it makes it a question"
        )
        raise RequestError(f"there is no /{name}; {hint}")
    known.run(terminal, argument)


def _help(terminal: Terminal, argument: str) -> None:
    rows = [(f"/{name} {command.takes}".rstrip(), command.about) for name, command in COMMANDS.items()]
    terminal.table([*rows, *KEYS])


#: What keys do.
KEYS = (
    ("Alt+Enter, Ctrl+J", 'a new line; so do lines between two """, and what is pasted keeps its own'),
    ("Ctrl+C", "stop the answer"),
    ("Up, Ctrl+R", "what was asked before"),
)


def _system(terminal: Terminal, argument: str) -> None:
    conversation = terminal.conversation
    if not argument:
        terminal.say(conversation.system or "there is no system message; /system TEXT sets one")
        return
    conversation.system = None if argument == "clear" else argument
    conversation.measure()
    terminal.say("no system message from here on" if argument == "clear" else "the system message is set")


def _model(terminal: Terminal, argument: str) -> None:
    if not argument:
        terminal.say(terminal.described())
        return
    terminal.change_model(argument)


def _save(terminal: Terminal, argument: str) -> None:
    path = terminal.path(argument, "/save")
    if path.exists() and path not in terminal.owned:
        raise RequestError(f"{path} is there already, and no file of this conversation; give another name")
    store.save(terminal.conversation, path)
    terminal.owned.add(path)
    terminal.say(f"saved as {path}")


def _load(terminal: Terminal, argument: str) -> None:
    terminal.load(terminal.path(argument, "/load"))


def _regenerate(terminal: Terminal, argument: str) -> None:
    conversation = terminal.conversation
    before = (list(conversation.messages), conversation.used)
    question = conversation.undo()
    if question is None:
        raise RequestError("there is no answer yet")
    if terminal.params.greedy:
        terminal.say("the temperature is 0, so the answer stays the same; /set temperature 0.7 lets it vary")
    if not terminal.answer(question, terminal.params.changed(seed=None)):
        conversation.messages, conversation.used = before


def _undo(terminal: Terminal, argument: str) -> None:
    question = terminal.conversation.undo()
    if question is None:
        raise RequestError("there is nothing to take back")
    terminal.say(f"taken back: {_short(question)}")


def _edit(terminal: Terminal, argument: str) -> None:
    question = terminal.conversation.undo()
    if question is None:
        raise RequestError("there is no question to edit")
    terminal.draft = question


def _clear(terminal: Terminal, argument: str) -> None:
    terminal.conversation.replace([], terminal.conversation.system)
    terminal.say("the conversation is empty" + ("; the system message stays" if terminal.conversation.system else ""))


def _drop(terminal: Terminal, argument: str) -> None:
    if argument and not argument.isdecimal():
        raise RequestError(f"/drop takes how many of the oldest turns to forget, not {argument!r:.40}")
    dropped = terminal.conversation.drop(int(argument or 1))
    if not dropped:
        raise RequestError("there is nothing to forget")
    terminal.say(f"the oldest {'turn is' if dropped == 1 else f'{dropped} turns are'} forgotten; {terminal.counted()}")


def _stats(terminal: Terminal, argument: str) -> None:
    if argument not in ("", "on", "off"):
        raise RequestError(f"/stats takes on or off, not {argument!r:.40}")
    terminal.stats = argument == "on" if argument else not terminal.stats
    terminal.say(f"statistics after each answer: {'on' if terminal.stats else 'off'}")


def _tokens(terminal: Terminal, argument: str) -> None:
    terminal.say(terminal.counted())


def _set(terminal: Terminal, argument: str) -> None:
    name, _, value = argument.partition(" ")
    name = name.lower().replace("-", "_")
    if not name:
        terminal.table([*((each, _shown(terminal.params, each)) for each in SETTINGS[1:]), (SETTINGS[0], _thinks(terminal))])
        return
    if name == SETTINGS[0]:
        if value.strip():
            terminal.conversation.think("" if value.strip().lower() == "auto" else value.strip().lower())
        terminal.say(f"{name} is {_thinks(terminal)}")
        return
    if name not in SETTINGS:
        near = difflib.get_close_matches(name, SETTINGS, 1)
        raise RequestError(f"there is no setting {name!r:.40}; " + (f"did you mean {near[0]}?" if near else "/set lists them"))
    if value.strip():
        terminal.params = terminal.params.changed(**{name: _value(name, value.strip())})
    terminal.say(f"{name} is {_shown(terminal.params, name)}")


def _thinks(terminal: Terminal) -> str:
    return terminal.conversation.thinking or "auto"


def _value(name: str, text: str) -> Any:
    if name == "stop":
        return () if text in _NONE else (text.replace("\\n", "\n"),)
    if name in ("seed", "max_tokens") and text.lower() in _NONE:
        return None
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise RequestError(f"{name} takes a number, not {text!r:.40}") from None


def _shown(params: SamplingParams, name: str) -> str:
    value = getattr(params, name)
    return ", ".join(map(repr, value)) if isinstance(value, tuple) and value else "none" if value in (None, ()) else str(value)


def _bye(terminal: Terminal, argument: str) -> None:
    raise Leave


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 60 else line[:59] + "…"


COMMANDS = {
    "help": Command("", "this list", _help),
    "system": Command("TEXT|clear", "tell the model how to answer", _system, "clear"),
    "model": Command("NAME", "go on with another model: a name, a file, a folder", _model, "model"),
    "set": Command("NAME VALUE", "how answers are chosen: /set temperature 0.5; alone, all of it", _set, "setting"),
    "regenerate": Command("", "answer the last question again", _regenerate),
    "edit": Command("", "take the last question back into the prompt, to change it", _edit),
    "undo": Command("", "take the last turn back", _undo),
    "drop": Command("[N]", "forget the oldest turn, or N of them, to make room", _drop),
    "clear": Command("", "forget all turns", _clear),
    "save": Command("FILE", "write the conversation: JSON, or Markdown by a name that ends with .md", _save, "file"),
    "load": Command("FILE", "go on with a conversation that was saved as JSON", _load, "file"),
    "tokens": Command("", "how full the context is", _tokens),
    "stats": Command("[on|off]", "times and speeds after each answer", _stats, "switch"),
    "bye": Command("", "leave; so does Ctrl+D", _bye),
}
