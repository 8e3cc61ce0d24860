"""`heron convert`: a model as another kind of file."""

from __future__ import annotations

import logging
import re
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from heron.checkpoint.checkpoint import Checkpoint
from heron.cli.info import human_bytes
from heron.cli.opening import locate
from heron.cli.prompt import note
from heron.convert.to_gguf import write_as_gguf
from heron.convert.to_hf import write_as_hf
from heron.errors import RequestError
from heron.models.registry import load_families

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}


def convert(
    model: Annotated[str, typer.Argument(metavar="IN", help="A folder with safetensors, or a GGUF file (any shard of a split one).")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="What to write: a GGUF file (NAME.gguf), or a folder.")],
    dtype: Annotated[str, typer.Option(help="auto keeps each matrix's format where it can; f16, bf16 or f32 for all.")] = "auto",
    split_max_size: Annotated[str | None, typer.Option(metavar="SIZE", help="Write GGUF files of at most so much each: 20GB.")] = None,
    max_shard_size: Annotated[str, typer.Option(metavar="SIZE", help="Write safetensors files of at most so much each.")] = "5GB",
) -> None:
    """Write a folder with safetensors as a GGUF file, or a GGUF file as a folder that transformers loads; tokenizer and chat template too.

    OUT says which: a name that ends in .gguf, or a folder that is not there yet. Quantized matrices are kept where GGUF has a format for
    them, and decoded in folders. Files appear under their names when they are complete; memory does not grow with the model. See
    docs/convert.md.

    \b
    heron convert ./Qwen3-0.6B Qwen3-0.6B.gguf
    heron convert ./Llama-3.1-70B llama.gguf --split-max-size 20GB
    heron convert ./gemma-3-1b-it gemma-F16.gguf --dtype f16
    heron convert model-00001-of-00004.gguf whole.gguf
    heron convert Qwen3-0.6B-Q8_0.gguf ./Qwen3-0.6B-again --dtype bf16
    """
    logging.basicConfig(format="heron: %(message)s")
    limit = None if split_max_size is None else size(split_max_size)
    load_families()
    begin = time.perf_counter()
    with Checkpoint(locate(model)) as checkpoint, _bar() as bar:
        task = bar.add_task(output.name, total=sum(tensor.size for tensor in checkpoint.tensors.values()))

        def done(elements: int) -> None:
            bar.advance(task, elements)

        if output.suffix == ".gguf":
            written = write_as_gguf(checkpoint, output, dtype=dtype, split_max_size=limit, progress=done)
        else:
            written = write_as_hf(checkpoint, output, dtype=dtype, max_shard_size=size(max_shard_size), progress=done)
    total = sum(file.stat().st_size for file in written)
    note(f"{written[0]}: {human_bytes(total)}, in {time.perf_counter() - begin:.1f} s")


def size(text: str) -> int:
    """Bytes that "5GB", "500M" or a number says. Raises RequestError."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)b?", text.strip().lower())
    if match is None or not float(match[1]):
        raise RequestError(f"{text!r} is no size, such as 5GB or 500MB")
    return int(float(match[1]) * _UNITS[match[2]])


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
