"""`heron doctor`: what is here and whether it works, on one screen."""

from __future__ import annotations

import os
import shutil
import textwrap
import time
from collections.abc import Iterator
from functools import partial
from json import dumps
from pathlib import Path
from typing import Annotated

import typer

from heron.cli.checks import hardware, software, use
from heron.cli.checks.check import Check, Probe, checked
from heron.cli.checks.hiding import Hiding, secrets
from heron.cli.info import printable
from heron.cli.settings import config_file, keep_models
from heron.config import Config, load_config
from heron.errors import ConfigError

#: Exit status where there is a problem; warnings are none.
EXIT_PROBLEM = 1

#: Columns of a report, at most and at least, of its marks, and of marks and names.
WIDTH, NARROW, MARK, NAME = 80, 40, 9, 20


def doctor(
    ctx: typer.Context,
    quick: Annotated[bool, typer.Option("--quick", help="Measure nothing and run no model.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Look at this machine and this installation, try the pocket model, and say what is wrong and what to do about it.

    The report fits on a screen, to be pasted into a report of a bug: it shows no key, no token and no name of a home folder, and asks
    nothing of the network. It takes a few seconds. The exit status is 1 where there is a problem, and 0 for warnings.

    \b
    heron doctor
    heron doctor --quick                         without measuring
    heron doctor --json | jq .checks.kernels
    """
    begin, config = time.perf_counter(), _config(config_file(ctx))
    hiding = Hiding(_hidden(config))
    found = []
    for check in _checks(config, quick):
        found.append(check)
        if not json:
            _show(check, hiding)
    marks = [check.mark for check in found]
    worst = next((mark for mark in ("problem", "warning") if mark in marks), "ok")
    if json:
        named = {check.name: {"mark": check.mark, **{key: value for key, value in vars(check).items() if key != "name"}} for check in found}
        print(dumps(hiding.all({"mark": worst, "checks": named}), indent=2))
    else:
        counts = ", ".join(f"{marks.count(mark) or 'no'} {mark}{'' if marks.count(mark) == 1 else 's'}" for mark in ("problem", "warning"))
        print(f"{counts}, in {time.perf_counter() - begin:.1f} s")
    if worst == "problem":
        raise typer.Exit(EXIT_PROBLEM)


def _checks(config: Config | str, quick: bool) -> Iterator[Check]:
    """One after the other, those that take time last."""
    probes: dict[str, Probe] = {
        "heron": software.installation,
        "python": software.python,
        "system": software.system,
        "cpu": hardware.cpu,
        "kernels": hardware.kernels,
        "memory": hardware.memory,
        "gpu": software.gpu,
        "libraries": software.libraries,
        "models": use.models,
        "settings": partial(use.settings, config=config),
        "variables": use.variables,
        "port": partial(use.port, config=config),
    }
    if not quick:
        probes |= {"speed": hardware.speed, "self-test": use.answers}
    for name, probe in probes.items():
        yield checked(name, probe)


def _config(named: Path | None) -> Config | str:
    """The configuration, which says where models are; or what is wrong with it."""
    try:
        config = load_config(named)
    except ConfigError as error:
        return str(error)
    keep_models(config)
    return config


def _hidden(config: Config | str) -> list[str]:
    """Secrets that are known, wherever they would show."""
    return [*secrets(os.environ), *(() if isinstance(config, str) else config["server.api_key"])]


def _show(check: Check, hiding: Hiding) -> None:
    """A check's lines: its mark, its name, what it found; then what to do."""
    width = max(NARROW, min(WIDTH, shutil.get_terminal_size((WIDTH, 0)).columns))
    head, indent = f"{check.mark:<{MARK}}{check.name:<{NAME - MARK}}", " " * NAME
    said = printable(hiding.text("; ".join(check.says)))
    lines = textwrap.wrap(said, width, initial_indent=head, subsequent_indent=indent, break_on_hyphens=False) or [head.rstrip()]
    for wrong in (*check.problems, *check.warnings):
        lines += textwrap.wrap(
            printable(hiding.text(wrong)),
            width,
            initial_indent=f"{' ' * MARK}> ",
            subsequent_indent=" " * (MARK + 2),
            break_on_hyphens=False,
        )
    print("\n".join(lines), flush=True)
