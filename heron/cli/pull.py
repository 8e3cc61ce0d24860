"""`heron pull`: a model from the hub into the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from heron.cli.prompt import note
from heron.cli.pulling import PullBar
from heron.errors import HubError
from heron.hub import cache
from heron.hub.names import Name, nearest
from heron.hub.pull import pull as fetch

CacheDir = Annotated[
    Path | None, typer.Option(metavar="FOLDER", help="Where models are kept; model.cache_dir, or Hugging Face's cache, if left out.")
]


def pull(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="ORG/NAME[:QUANT], or an alias: qwen3:0.6b.")],
    revision: Annotated[str | None, typer.Option(help="A branch, a tag or a commit; the main branch if left out.")] = None,
    cache_dir: CacheDir = None,
) -> None:
    """Get a model from the hub.

    Of a repository with GGUF files one is pulled (all its parts): the quantization behind the colon, or Q4_K_M where there is
    one. Of one with safetensors, what is needed to run it. A pull that was cut goes on where it stopped; every file is checked.
    Models that want a permission need HF_TOKEN. The commands that run models pull by themselves what is not here. It prints
    where the model is. More: docs/hub.md.

    \b
    heron pull qwen3:0.6b                       an alias: heron list --aliases
    heron pull unsloth/Qwen3-4B-GGUF:Q8_0       one quantization of several
    heron pull Qwen/Qwen3-0.6B --revision main  a repository of safetensors
    heron run qwen3:0.6b -p "Hello"             then, or at once
    """
    with PullBar() as bar:
        path = fetch(named(model, cache_dir), revision, cache_dir, bar)
    note(f"{model} is here")
    print(path)


def named(model: str, cache_dir: Path | None) -> Name:
    """A model's name. Raises HubError for what is none."""
    name = cache.named(model, cache.folder(cache_dir))
    if name is None:
        raise HubError(f"{model!r} is no model's name{nearest(model)}; give ORG/NAME[:QUANT], or one that `heron list --aliases` shows")
    return name
