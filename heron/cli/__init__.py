"""The command. Each subcommand is a file here, imported when it is called, so that `heron --help` starts at once."""

from __future__ import annotations

import gc
import io
import os
import signal
import sys
import traceback
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from heron import __version__
from heron.cli.help import Command, Help, name_values
from heron.cli.settings import ConfigFile, Debug, configure, everywhere
from heron.errors import HeronError

#: Command -> (module, what it does in one line).
COMMANDS = {
    "run": ("heron.cli.run", "Answer a prompt, or talk, with a model."),
    "chat": ("heron.cli.chat", "Talk with a model."),
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
    "doctor": ("heron.cli.doctor", "Look at this machine and installation, for what is wrong."),
    "config": ("heron.cli.config", "Show the settings, and where each came from."),
    "completion": ("heron.cli.completion", "Print a script with which a shell completes commands."),
}

#: Exit codes, as docs/cli.md lists them: what Heron or the system refuses, a bug in Heron, and a run that the user interrupted.
EXIT_ERROR, EXIT_BUG, EXIT_INTERRUPTED = 2, 70, 130

#: What typer raises for a command line that it cannot read; by way of its subclass, since some versions carry their own click.
USAGE_ERROR: Any = typer.BadParameter.__base__

#: Of every Typer here. Tracebacks are main()'s.
STYLE: dict[str, Any] = {
    "add_completion": False,
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


class LazyGroup(Help, TyperGroup):
    """A group whose commands are imported when they are called, and listed without being imported."""

    def __init__(self, **attributes: Any) -> None:
        super().__init__(**attributes)
        self.commands: Any = dict.fromkeys(COMMANDS)  # of which typer suggests one for what is misspelled

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        if cmd_name not in COMMANDS:
            return None
        command = _made(cmd_name, getattr(import_module(COMMANDS[cmd_name][0]), cmd_name))
        command.params += _made("everywhere", everywhere).params
        return command

    def format_options(self, ctx: Any, formatter: Any) -> None:
        super().format_options(ctx, formatter)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


def _made(name: str, function: Callable[..., None]) -> Any:
    """click's command of a function."""
    app = typer.Typer(**STYLE)
    app.command(name=name, cls=Command)(function)
    command = typer.main.get_command(app)
    name_values(command, function)
    return command


app = typer.Typer(cls=LazyGroup, **STYLE)


@app.callback(invoke_without_command=True)
def heron(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    config: ConfigFile = None,
    debug: Debug = False,
) -> None:
    """Run language models: GGUF files and safetensors folders in, text out.

    \b
    heron run -p "What can you do?"     ask the model that ships with Heron
    heron chat model.gguf               talk with another one
    heron run qwen3:0.6b                with one of the hub, pulled first
    heron serve model.gguf              serve it over HTTP
    heron COMMAND --help                what a command does, with examples
    """
    if version:
        print(f"heron {__version__}")
    elif ctx.invoked_subcommand is None:
        print(ctx.get_help())
    else:
        configure(ctx, config)


def main() -> None:
    """The entry point: an error is one line, without a traceback unless `--debug` asks for it."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # closed by whoever started us
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character shows another
            stream.reconfigure(errors="replace")
    if os.getpid() == 1:  # of a container: a signal that nobody handles does not end such a process
        signal.signal(signal.SIGTERM, lambda *_: os._exit(128 + signal.SIGTERM))
    gc.disable()  # what is made at start is there to stay; open_model() enables it again
    try:
        sys.exit(app(prog_name="heron", standalone_mode=False))
    except (KeyboardInterrupt, typer.Abort):
        sys.exit(EXIT_INTERRUPTED)
    except Exception as error:
        if "--debug" in sys.argv:
            traceback.print_exc()
        else:
            print(f"heron: {_told(error)}", file=sys.stderr)
        sys.exit(EXIT_ERROR if isinstance(error, (HeronError, OSError, MemoryError, USAGE_ERROR)) or _foreign(error) else EXIT_BUG)


def _foreign(error: Exception) -> bool:
    """Whether something that is not Heron's could not be imported."""
    return isinstance(error, ImportError) and (error.name or "").partition(".")[0] != "heron"


def _told(error: Exception) -> str:
    """One line about what went wrong, and what to do."""
    if isinstance(error, USAGE_ERROR):
        found: Any = error
        path = found.ctx.command_path if found.ctx else "heron"
        return f"error: {found.format_message().rstrip('.')} (see {path} --help)"
    if isinstance(error, HeronError):
        return f"error: {error}"
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return f"error: the system says: {error.strerror or error}{file}"
    if isinstance(error, MemoryError):
        return "error: there is not enough memory; heron plan tells what a model takes, a smaller --ctx-size takes less"
    if _foreign(error):
        return f"error: a library that is needed cannot be loaded: {' '.join(str(error).split())}; run: pip check, and install Heron anew"
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return f"this is a bug in Heron: {said} (the same with --debug prints a traceback, to be reported)"
