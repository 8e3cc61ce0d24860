"""How `--help` looks: what a command is for, examples, arguments, options. docs/cli.md is made of the same."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from typer.core import TyperCommand

#: What stands for a value where an option does not name it, by its type.
LETTERS: dict[Any, str] = {int: "N", float: "X", Path: "FILE", str: "TEXT", list[str]: "TEXT"}


def name_values(command: Any, function: Callable[..., Any]) -> None:
    """Have each parameter of the function's command say what stands for its value."""
    hints = get_type_hints(function)
    for each in command.params:
        if each.metavar is None:
            kinds = {hints[each.name], *get_args(hints[each.name])}
            letter = next((letter for kind, letter in LETTERS.items() if kind in kinds), None)
            each.metavar = each.name.upper() if each.param_type_name == "argument" else letter


def about(command: Any) -> tuple[str, str]:
    """What a command is for, and its examples: lines as they are."""
    told, _, examples = inspect.cleandoc(command.help).partition("\b\n")
    return told.strip(), examples.rstrip()


def arguments(command: Any) -> list[tuple[str, str]]:
    """Each argument's name, in brackets if it may be left out, and what it is."""
    found = []
    for each in command.params:
        if each.param_type_name == "argument":
            name = each.metavar + ("..." if each.nargs == -1 else "")
            found.append((name if each.required else f"[{name}]", each.help))
    return found


def options(command: Any) -> Iterator[Any]:
    """Those that are shown."""
    yield from (each for each in command.params if each.param_type_name == "option" and not each.hidden)


def spelled(option: Any) -> list[str]:
    """An option's names, the last one with what stands for its value."""
    names = [*option.opts, *option.secondary_opts]
    return names if option.is_flag else [*names[:-1], f"{names[-1]} {option.metavar}"]


def default(option: Any, value: Any) -> str:
    """What holds where the option is left out, as it would be written; nothing for nothing."""
    if value is None or value in ("", (), []) or option.multiple or not option.show_default or callable(value):
        return ""
    if isinstance(value, bool):
        return str(option.opts[0]) if value else str(option.secondary_opts[0]) if option.secondary_opts else ""
    return str(value)


class Help:
    """Of commands and their group, alike with every version of typer."""

    def format_help_text(self, ctx: Any, formatter: Any) -> None:
        told, examples = about(self)
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(told)
        with formatter.section("Examples"):
            for line in examples.splitlines():
                formatter.write(f"  {line}\n")

    def format_options(self, ctx: Any, formatter: Any) -> None:
        if told := arguments(self):
            with formatter.section("Arguments"):
                formatter.write_dl(told)
        with formatter.section("Options"):
            lines = [(", ".join(spelled(each)), _line(each, ctx)) for each in options(self)]
            formatter.write_dl([*lines, ("-h, --help", "Show this message and exit.")])


class Command(Help, TyperCommand):
    """A command with that help."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return ["[OPTIONS]", *(name for name, _ in arguments(self))]


def _line(option: Any, ctx: Any) -> str:
    """What an option is for, and what holds without it: by the configuration too."""
    held = default(option, (ctx.default_map or {}).get(option.name, option.default))
    return option.help + (f" [default: {held}]" if held else "")
