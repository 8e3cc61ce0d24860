"""`heron delete`: room on the disk."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from heron.cli.info import human_bytes
from heron.cli.prompt import note
from heron.cli.pull import CacheDir, named
from heron.errors import HubError
from heron.hub import cache


def delete(
    model: Annotated[str, typer.Argument(metavar="NAME", help="A name as `heron list` shows it; without :QUANT all of the repository.")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="Do not ask.")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """Delete models that were pulled; it asks first.

    \b
    heron delete unsloth/Qwen3-4B-GGUF:Q8_0    that quantization
    heron delete unsloth/Qwen3-4B-GGUF         all that is here of the repository
    heron delete qwen3:0.6b --yes
    """
    name, folder = named(model, cache_dir), cache.folder(cache_dir)
    doomed = cache.matching(name, folder)
    if not doomed:
        raise HubError(f"{name} is not in the cache ({folder}); `heron list` shows what is there")
    size = human_bytes(sum(each.bytes for each in doomed))
    names = ", ".join(str(each.name) if each.path else f"what a cut pull left of {each.name}" for each in doomed)
    if not yes:
        if not sys.stdin.isatty():
            raise HubError(f"this deletes {names} ({size}); say --yes, since nobody can be asked here")
        if not typer.confirm(f"Delete {names} ({size})?", err=True):
            note("nothing was deleted")
            return
    cache.delete(doomed, folder)
    note(f"deleted {names}: {size}")
