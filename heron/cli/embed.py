"""`heron embed`: texts in, vectors out."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeRemainingColumn

from heron.cli.opening import open_model
from heron.cli.options import Threads, placing, with_options
from heron.cli.prompt import read_texts
from heron.errors import RequestError

Rows = Iterable[NDArray[np.float32]]


@with_options(where=placing)
def embed(
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    texts: Annotated[list[str] | None, typer.Argument(metavar="TEXT", help="The texts.", show_default=False)] = None,
    *,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Read texts from a file, one in each line.")] = None,
    pooling: Annotated[str | None, typer.Option(help="mean, cls or last; the model's own if left out.")] = None,
    normalize: Annotated[bool, typer.Option("--normalize/--no-normalize", help="Give vectors of length 1.")] = True,
    truncate: Annotated[bool, typer.Option("--truncate", help="Cut texts that are too long.")] = False,
    similarity: Annotated[bool, typer.Option("--similarity", help="Give each text's cosine similarity to every text.")] = False,
    form: Annotated[str, typer.Option("--format", help="text (numbers, a line each), json, jsonl or npy.")] = "text",
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to a file.")] = None,
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Longest text in tokens; 0: the model's own.")] = 0,
    threads: Threads = None,
    where: dict[str, Any],
) -> None:
    """Turn texts into vectors.

    Without texts, lines are read from a file or from stdin. Vectors go to stdout, everything else to stderr.

    \b
    heron embed bert.gguf "a heron" "a bird"                  lines of numbers
    heron embed bert.gguf "a heron" "a bird" --similarity     how alike they are
    heron embed bert.gguf -f lines.txt --format npy -o a.npy  [lines, hidden]
    heron embed bert.gguf --format jsonl < lines.txt          texts beside them
    """
    if form not in WRITERS:
        raise RequestError(f"there is no format {form!r}; there are {', '.join(WRITERS)}")
    if form == "npy" and output is None:
        raise RequestError("npy is no text: name a file to write it to with -o")
    given = read_texts(texts or [], file)
    loaded = open_model(model, **where, threads=threads, ctx_size=ctx_size)
    try:
        prompts = loaded.embedder.encode(given, truncate)
        vectors: Rows = _shown(loaded.embedder.vectors(prompts, pooling, normalize or similarity), len(given))
        if similarity:
            together = np.stack(list(vectors))
            vectors = together @ together.T
        with _opened(output) as out:
            WRITERS[form](out, given, vectors, "similarity" if similarity else "embedding")
    finally:
        loaded.close()


def _shown(vectors: Rows, count: int) -> Iterator[NDArray[np.float32]]:
    """The same, with a bar in the terminal while there are more to come."""
    console = Console(stderr=True)
    bar = Progress(*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeRemainingColumn(), console=console, transient=True)
    bar.disable = count == 1 or not console.is_terminal
    with bar:
        yield from bar.track(vectors, total=count, description="texts")


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    try:
        with path.open("wb") as out:
            yield out
    except OSError as error:
        raise RequestError(f"{str(path)!r} cannot be written: {error.strerror}") from None


def _numbers(row: NDArray[np.float32]) -> list[float]:
    """The shortest decimal numbers that stand for the same float32."""
    return [float(number) for number in row.astype(str)]


def _text(out: BinaryIO, texts: list[str], rows: Rows, name: str) -> None:
    for row in rows:
        out.write(" ".join(map(str, _numbers(row))).encode() + b"\n")


def _jsonl(out: BinaryIO, texts: list[str], rows: Rows, name: str) -> None:
    for text, row in zip(texts, rows, strict=True):
        out.write(dumps({"text": text, name: _numbers(row)}, ensure_ascii=False).encode() + b"\n")


def _json(out: BinaryIO, texts: list[str], rows: Rows, name: str) -> None:
    found = [{"text": text, name: _numbers(row)} for text, row in zip(texts, rows, strict=True)]
    out.write(dumps(found, ensure_ascii=False).encode() + b"\n")


def _npy(out: BinaryIO, texts: list[str], rows: Rows, name: str) -> None:
    np.save(out, np.stack(list(rows)))


WRITERS: dict[str, Callable[[BinaryIO, list[str], Any, str], None]] = {"text": _text, "json": _json, "jsonl": _jsonl, "npy": _npy}
