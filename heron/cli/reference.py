"""docs/cli.md, made of the commands: `python -m heron.cli.reference > docs/cli.md`. tests/cli/test_manners.py holds it to them."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

import typer

from heron.cli import COMMANDS, EXIT_BUG, EXIT_ERROR, EXIT_INTERRUPTED, app
from heron.cli.doctor import EXIT_PROBLEM
from heron.cli.settings import OPTIONS, default_map
from heron.config import DEFAULTS

_HEAD = f"""# Commands

This page is made of the commands (`make docs`); `heron COMMAND --help` says the same. Defaults in *italics* are
[settings](configuration.md).

## Exit status

| status | meaning |
|---|---|
| 0 | done |
| {EXIT_PROBLEM} | `heron doctor` found a problem; or whoever read the output went away, as `head` does |
| {EXIT_ERROR} | refused: the command line, the settings, the input, the model, by the system; a line on stderr says why, and what helps |
| {EXIT_BUG} | a bug in Heron; one line says so, the same with `--debug` prints a traceback to report |
| {EXIT_INTERRUPTED} | interrupted by Ctrl-C |
| 128 + N | a server ended at once by signal N, the second one |

Answers and results go to stdout, everything else to stderr. [Completion](install.md#shell-completion) is for bash, zsh and fish.
"""

#: What stands for a number or a file where an option does not name it.
LETTERS: dict[Any, str] = {int: "N", float: "X", Path: "FILE"}


def group() -> Any:
    """click's command of `heron` itself."""
    return typer.main.get_command(app)


def commands() -> Iterator[tuple[str, Any]]:
    """Each command's name, and click's command."""
    whole = group()
    for name in COMMANDS:
        yield name, whole.get_command(None, name)


def options(command: Any) -> Iterator[Any]:
    """The options that `--help` shows, in its order."""
    yield from (each for each in command.params if each.param_type_name == "option" and not each.hidden)


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _section("", group()), *(_section(name, command) for name, command in commands())])


def _section(name: str, command: Any) -> str:
    defaults = default_map(DEFAULTS).get(name, {})
    hints = get_type_hints(getattr(import_module(COMMANDS[name][0]), name)) if name else {}
    told, _, examples = inspect.cleandoc(command.help).partition("\b\n")
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    lines = [f"## heron {name}".rstrip(), "", told.strip(), "", "```sh", examples.rstrip(), "```", ""]
    if arguments:
        lines += ["| argument | |", "|---|---|", *(f"| `{_argument(each)}` | {_cell(each.help)} |" for each in arguments), ""]
    lines += ["| option | default | |", "|---|---|---|"]
    for each in options(command):
        default = _default(each, defaults.get(each.name, each.default))
        if each.name in OPTIONS.get(name, {}):
            default = f"*{default or 'none'}*"
        lines.append(f"| {_cell(_names(each, hints.get(each.name)))} | {default} | {_cell(each.help)} |")
    return "\n".join(lines) + "\n"


def _argument(argument: Any) -> str:
    name = argument.metavar or argument.name.upper()
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _names(option: Any, hint: Any) -> str:
    """`-n`, `--max-tokens N`"""
    names = [f"`{name}`" for name in (*option.opts, *option.secondary_opts)]
    if not option.is_flag:
        names[-1] = f"{names[-1][:-1]} {option.metavar or _letter(hint)}`"
    return ", ".join(names)


def _letter(hint: Any) -> str:
    """What stands for a value of this type, of which there may be several or none."""
    kinds = get_args(hint) or (hint,)
    return next((letter for kind, letter in LETTERS.items() if kind in kinds), "TEXT")


def _default(option: Any, value: Any) -> str:
    if value is None or value == () or value == [] or option.multiple or callable(value):
        return ""
    if isinstance(value, bool):
        return f"`{option.opts[0]}`" if value else f"`{option.secondary_opts[0]}`" if option.secondary_opts else ""
    return f"`{value}`"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
