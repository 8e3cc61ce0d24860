"""Which options stand for which settings, and what the configuration makes of a command line.

click looks a default up in the context's ``default_map`` before it takes the option's own: so a flag that is given wins, else the
configuration, and ``--help`` shows what holds.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from heron.config import Config, load_config

_CONTEXT = {"ctx_size": "inference.max_sequence_length"}
_GPU = {"cuda_device": "device.cuda_device_id"}
_CACHE = {"cache_dir": "model.cache_dir"}
_ANSWERS = {
    "temperature": "inference.temperature",
    "top_p": "inference.top_p",
    "max_tokens": "inference.default_max_new_tokens",
}

#: Command -> parameter of its function -> setting. ``device.prefer_gpu`` is --gpu's (heron/cli/where.py).
OPTIONS: dict[str, dict[str, str]] = {
    "run": {**_ANSWERS, **_CONTEXT, **_GPU},
    "chat": {**_ANSWERS, **_CONTEXT, **_GPU},
    "serve": {
        "host": "server.host",
        "port": "server.port",
        "request_timeout": "server.request_timeout_secs",
        "drain_timeout": "server.drain_timeout_secs",
        "max_queue": "server.max_queue",
        "keep_alive": "server.keep_alive",
        "max_memory": "server.max_memory_gib",
        "max_models": "server.max_models",
        "api_key": "server.api_key",
        "api_key_file": "server.api_key_file",
        "cors": "server.cors",
        "log_level": "server.log_level",
        "log_format": "server.log_format",
        "max_seqs": "inference.max_batch_size",
        **_ANSWERS,
        **_CONTEXT,
        **_GPU,
    },
    "embed": {**_CONTEXT, **_GPU},
    "bench": {**_CONTEXT, **_GPU},
    "plan": _CONTEXT,
    "perplexity": _GPU,
    "imatrix": _GPU,
    "pull": _CACHE,
    "list": _CACHE,
    "delete": _CACHE,
}

#: Commands that say of the configuration itself what is wrong with it, or have nothing to do with it.
APART = ("config", "completion", "doctor")

_FILE = "heron.config_file"

_FILE_HELP, _DEBUG_HELP = "Read settings from this file, too.", "Show tracebacks of errors."
ConfigFile = Annotated[Path | None, typer.Option("--config", metavar="FILE", help=_FILE_HELP)]
Debug = Annotated[bool, typer.Option("--debug", help=_DEBUG_HELP)]


def default_map(config: Config) -> dict[str, dict[str, Any]]:
    """Each command's defaults; an empty text or list is none."""
    return {
        command: {parameter: config[name] for parameter, name in options.items() if config[name] not in ("", ())}
        for command, options in OPTIONS.items()
    }


def configure(ctx: typer.Context, file: Path | None) -> None:
    """Read the configuration before the command line is. Called for the group, whose warnings are said."""
    ctx.meta[_FILE] = file
    if ctx.invoked_subcommand in APART:
        return
    from heron.cli.prompt import note

    ctx.obj = load_config(file)
    ctx.default_map = default_map(ctx.obj)
    keep_models(ctx.obj)
    for warning in ctx.obj.warnings:
        note(warning)


def config_file(ctx: typer.Context) -> Path | None:
    """What --config names."""
    file: Path | None = ctx.meta.get(_FILE)
    return file


def given(ctx: typer.Context, parameter: str) -> bool:
    """Whether the command line says it, rather than the configuration or nobody."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


def said(ctx: typer.Context, parameter: str, setting: str) -> bool:
    """Whether the command line or the configuration says it, rather than nobody."""
    config: Config | None = ctx.obj
    return given(ctx, parameter) or (config is not None and config.entries[setting].source != "default")


def _reconfigure(ctx: typer.Context, file: Path | None) -> None:
    """The same, of a --config that stands behind the command."""
    if file is None:
        return
    ctx.meta[_FILE] = file
    if ctx.info_name not in APART:
        ctx.obj = load_config(file)
        ctx.default_map = default_map(ctx.obj).get(ctx.info_name or "", {})
        keep_models(ctx.obj)


def keep_models(config: Config) -> None:
    """Where models are pulled to and found, for whatever in this process looks for one (heron/hub/cache.py)."""
    if config["model.cache_dir"]:
        os.environ["HF_HUB_CACHE"] = config["model.cache_dir"]


def everywhere(
    config: Annotated[
        Path | None,
        typer.Option("--config", metavar="FILE", is_eager=True, expose_value=False, callback=_reconfigure, help=_FILE_HELP),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", expose_value=False, help=_DEBUG_HELP)] = False,
) -> None:
    """The options that every command has, beside its own; --debug is main()'s."""
