"""The command. Each subcommand is a file here, imported when it is called, so that `heron --help` starts at once."""

from __future__ import annotations

import gc
import io
import os
import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from heron import __version__
from heron.errors import HeronError

#: Command -> (module, what it does in one line).
COMMANDS = {
    "run": ("heron.cli.run", "Answer a prompt, or talk, with a model."),
    "serve": ("heron.cli.serve", "Serve a model over HTTP."),
    "embed": ("heron.cli.embed", "Turn texts into vectors."),
    "bench": ("heron.cli.bench", "Measure how fast a model runs here."),
    "plan": ("heron.cli.plan", "Tell what a model takes here, before loading it."),
    "perplexity": ("heron.cli.perplexity", "Measure how well a model predicts a text."),
    "quantize": ("heron.cli.quantize", "Write a model in fewer bits."),
    "imatrix": ("heron.cli.imatrix", "Find which weights matter, for quantizing a model."),
    "convert": ("heron.cli.convert", "Turn a model's folder into a GGUF file, or the other way."),
    "pull": ("heron.cli.pull", "Get a model from the hub."),
    "list": ("heron.cli.list", "List the models that are here."),
    "delete": ("heron.cli.delete", "Delete models that were pulled."),
    "info": ("heron.cli.info", "Show what a model file or folder holds."),
}

#: Exit codes: wrong input or usage, and a run that the user interrupted.
EXIT_ERROR, EXIT_INTERRUPTED = 2, 130

#: What typer raises for a command line that it cannot read; by way of its subclass, since some versions carry their own click.
USAGE_ERROR: Any = typer.BadParameter.__base__


class LazyGroup(TyperGroup):
    """A group whose commands are imported when they are called, and listed without being imported."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        app = typer.Typer(add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})
        app.command(name=cmd_name)(getattr(import_module(COMMANDS[cmd_name][0]), cmd_name))
        return typer.main.get_command(app)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode=None, context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def heron(
    ctx: typer.Context,
    version: bool = typer.Option(False, "--version", help="Print the version."),
    debug: bool = typer.Option(False, "--debug", help="Show tracebacks of errors."),
) -> None:
    """Run language models: GGUF files and safetensors folders in, text out.

    Try: heron run -p "What can you do?"
    """
    if version:
        print(f"heron {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())


def main() -> None:
    """The entry point: one line and exit code 2 for what Heron refuses, no traceback unless `--debug` asks for it."""
    if sys.stdin is None:  # closed by whoever started us
        sys.stdin = open(os.devnull)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows another
            stream.reconfigure(errors="replace")
    gc.disable()  # what is made at start is there to stay; open_model() enables it again
    try:
        sys.exit(app(prog_name="heron", standalone_mode=False))
    except USAGE_ERROR as error:
        print(f"heron: error: {error.format_message().rstrip('.')} (see {_command_path(error)} --help)", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except HeronError as error:
        if "--debug" in sys.argv:
            raise
        print(f"heron: error: {error}", file=sys.stderr)
        sys.exit(EXIT_ERROR)
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)


def _command_path(error: Any) -> str:
    return error.ctx.command_path if error.ctx else "heron"
