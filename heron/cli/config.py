"""`heron config`: the settings, and who said each."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from heron.cli.prompt import note
from heron.cli.settings import config_file
from heron.config import SETTINGS, Config, Setting, load_config, project_file, user_file


def config(
    ctx: typer.Context,
    path: Annotated[bool, typer.Option("--path", help="Print which file to edit, whether it is there or not.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show each setting's value, and where it came from: a file and its line, a variable of the environment, or Heron's own default.

    Later ones win: defaults, ~/.config/heron/config.toml, config/default.toml in the working directory, the file that --config names,
    HERON_SECTION_KEY in the environment; and options of a command win over all of them. docs/configuration.md lists the settings.

    \b
    heron config
    heron config --config server.toml           with this file, too
    heron config --json
    HERON_SERVER_PORT=8080 heron config
    ${EDITOR:-vi} "$(heron config --path)"
    """
    named = config_file(ctx)
    if path:
        print(_to_edit(named))
        return
    found = load_config(named)
    for warning in found.warnings:
        note(warning)
    if json:
        values = {s.name: {"value": _public(s, found[s.name]), "source": found.entries[s.name].source} for s in SETTINGS}
        print(dumps({"settings": values, "files": [str(file) for file in found.files]}, indent=2))
    else:
        _show(found)


def _to_edit(named: Path | None) -> Path:
    """The file that wins over others: what --config names, the project's where there is one, the user's."""
    if named is not None:
        return named
    return project_file() if project_file().is_file() else user_file()


def _public(setting: Setting, value: Any) -> Any:
    """The value, or for a secret one that there is one."""
    if setting.secret:
        return "set" if value else ""
    return list(value) if isinstance(value, tuple) else value


def _written(value: Any) -> str:
    return dumps(value, ensure_ascii=False)


def _show(found: Config) -> None:
    """A table in plain text, as wide as it is: to be read, and to be cut by other programs."""
    rows = [(s.name, _written(_public(s, found[s.name])), found.entries[s.name].source) for s in SETTINGS]
    widths = [max(len(row[column]) for row in rows) for column in (0, 1)]
    for name, value, source in rows:
        print(f"{name:<{widths[0]}}  {value:<{widths[1]}}  {source}")
    if not found.files:
        print(f"\nno file was read; {user_file()} would be")
