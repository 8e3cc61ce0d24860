"""`heron list`: the models that are here."""

from __future__ import annotations

import builtins
import time
from collections.abc import Sequence
from json import dumps
from typing import Annotated, Any

import typer

from heron.checkpoint.checkpoint import Checkpoint
from heron.cli.info import human_bytes, printable
from heron.cli.prompt import note
from heron.cli.pull import CacheDir
from heron.errors import HeronError
from heron.hub import cache
from heron.hub.names import aliases as table_of_aliases
from heron.models.registry import load_families


def list(
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    aliases: Annotated[bool, typer.Option("--aliases", help="List the short names of models that can be pulled.")] = False,
    cache_dir: CacheDir = None,
) -> None:
    """List the models that are here: name, format, size, architecture, context, when last used.

    Those are the models of Hugging Face's cache, whichever program pulled them. A name in the list is what `heron run`,
    `heron serve` and `heron delete` take.

    \b
    heron list
    heron list --json
    heron list --aliases    short names, such as qwen3:0.6b
    """
    if aliases:
        _show_aliases(json)
        return
    folder = cache.folder(cache_dir)
    load_families()
    rows = [_row(each) for each in cache.models(folder)]
    if json:
        print(dumps(rows, indent=2))
        return
    if not rows:
        note(f"there are no models in {folder}; get one: heron pull qwen3:0.6b")
        return
    _show(rows)


def _show(rows: Sequence[dict[str, Any]]) -> None:
    """A table in plain text, as wide as it is: names stay whole, for other programs to cut out."""
    cells: builtins.list[tuple[str, ...]] = [("name", "format", "size", "architecture", "context", "last used")]
    for row in rows:
        values = row["name"], row["format"], human_bytes(row["bytes"]), row["architecture"], row["context_length"], _ago(row["last_used"])
        cells.append(tuple(printable(str(value or "-")) for value in values))
    name, format, size, architecture, context, _ = (max(map(len, column)) for column in zip(*cells, strict=True))
    for line in cells:
        print(f"{line[0]:{name}}  {line[1]:{format}}  {line[2]:>{size}}  {line[3]:{architecture}}  {line[4]:>{context}}  {line[5]}")


def _row(model: cache.Cached) -> dict[str, Any]:
    """A model as JSON has it: bytes, seconds since the epoch; an architecture where the files can be read."""
    row: dict[str, Any] = {"name": str(model.name), "path": None if model.path is None else str(model.path), "bytes": model.bytes}
    row |= {"last_used": model.last_used, "architecture": None, "context_length": None}
    if model.path is None:
        return row | {"format": "cut pull"}
    row["format"] = model.choice.quantization or "safetensors"
    try:
        with cache.looking(model.path), Checkpoint(model.path) as checkpoint:
            row["architecture"] = checkpoint.architecture
            row["context_length"] = checkpoint.metadata.integer(f"{checkpoint.architecture}.context_length", None)
            row["format"] = checkpoint.quantization or row["format"]
    except HeronError:  # a kind that Heron cannot run: it takes room all the same
        pass
    return row


def _show_aliases(json: bool) -> None:
    named = {f"{alias}:{size}": repository for alias, sizes in table_of_aliases().items() for size, repository in sizes.items()}
    if json:
        print(dumps(named, indent=2))
        return
    width = max(map(len, named))
    for alias, repository in named.items():
        print(f"{alias:{width}}  {repository}")


def _ago(when: float) -> str:
    """Seconds since the epoch -> "3 hours ago"."""
    seconds = max(0.0, time.time() - when)
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"
