"""`heron imatrix`: which columns of a model's matrices matter, for quantizing it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heron.checkpoint.imatrix import ImportanceMatrix, write_imatrix
from heron.cli.opening import open_model
from heron.cli.options import Threads, placing, with_options
from heron.cli.prompt import note
from heron.cli.reading import read_corpus, reading_bar
from heron.evaluate.imatrix import collect
from heron.evaluate.windows import WINDOW, windows
from heron.graph.passes.observe import observe


@with_options(where=placing)
def imatrix(
    model: Annotated[str, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; best the unquantized model.")],
    text: Annotated[list[Path], typer.Argument(help="Files of UTF-8 text of the kind that the model will see.")],
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("imatrix.gguf"),
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Tokens of a window.")] = WINDOW,
    chunks: Annotated[int | None, typer.Option(help="Read so many windows at most.")] = None,
    threads: Threads = None,
    where: dict[str, Any],
) -> None:
    """Read texts with a model, and write how much each column of its matrices matters: an importance matrix.

    It is the mean square of what each column multiplies. `heron quantize --imatrix` rounds with more care what matters more, which
    helps the more the fewer bits there are. A hundred windows are enough; of the largest models too.

    \b
    heron imatrix model-F16.gguf calibration.txt -o imatrix.gguf
    heron quantize model-F16.gguf small.gguf IQ2_M --imatrix imatrix.gguf
    """
    corpus = read_corpus(text)
    loaded = open_model(model, **where, threads=threads, ctx_size=ctx_size, rewrite=observe)
    try:
        parts = windows(loaded, corpus, ctx_size, chunks)
        matrix = ImportanceMatrix(datasets=[str(file) for file in text], chunk_size=len(parts[0].tokens))
        with reading_bar("windows") as bar:
            task = bar.add_task("reading", total=len(parts), said="")
            for _ in collect(loaded, parts, matrix):
                bar.advance(task)
    finally:
        loaded.close()
    write_imatrix(output, matrix)
    unseen = [name for name, sums in matrix.sums.items() if (sums.rows == 0).any()]
    if unseen:
        note(f"some experts of {len(unseen)} matrices were never chosen; a longer text may reach them")
    note(f"{output}: {len(matrix.sums)} matrices, from {matrix.chunks} windows of {matrix.chunk_size} tokens")
