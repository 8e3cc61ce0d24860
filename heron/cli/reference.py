"""docs/cli.md, made of the commands: `python -m heron.cli.reference > docs/cli.md`. tests/cli/test_manners.py holds it to them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from heron.cli import COMMANDS, EXIT_BUG, EXIT_ERROR, EXIT_INTERRUPTED, app
from heron.cli.doctor import EXIT_PROBLEM
from heron.cli.help import about, arguments, default, options, spelled
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


def group() -> Any:
    """click's command of `heron` itself."""
    return typer.main.get_command(app)


def commands() -> Iterator[tuple[str, Any]]:
    """Each command's name, and click's command."""
    whole = group()
    for name in COMMANDS:
        yield name, whole.get_command(None, name)


def page() -> str:
    """The whole page."""
    return "\n".join([_HEAD, _section("", group()), *(_section(name, command) for name, command in commands())])


def _section(name: str, command: Any) -> str:
    defaults = default_map(DEFAULTS).get(name, {})
    told, examples = about(command)
    lines = [f"## heron {name}".rstrip(), "", told, "", "```sh", examples, "```", ""]
    if given := arguments(command):
        lines += ["| argument | |", "|---|---|", *(f"| `{argument}` | {_cell(help)} |" for argument, help in given), ""]
    lines += ["| option | default | |", "|---|---|---|"]
    for each in options(command):
        held = default(each, defaults.get(each.name, each.default))
        held = f"`{held}`" if held else ""
        if each.name in OPTIONS.get(name, {}):
            held = f"*{held or 'none'}*"
        lines.append(f"| {_cell(', '.join(f'`{text}`' for text in spelled(each)))} | {held} | {_cell(each.help)} |")
    return "\n".join(lines) + "\n"


def _cell(text: str | None) -> str:
    return (text or "").replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    print(page(), end="")
