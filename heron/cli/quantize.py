"""`heron quantize`: a model in fewer bits."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.imatrix import read_imatrix
from heron.cli.info import human_bytes, printable
from heron.cli.opening import locate, open_model
from heron.cli.prompt import note
from heron.cli.reading import read_corpus, reading_bar
from heron.convert.quantize import Quantization, quantization
from heron.engine.model import Model
from heron.errors import RequestError
from heron.evaluate.report import plot as draw
from heron.evaluate.report import report as report_on
from heron.evaluate.windows import WINDOW, windows
from heron.hub.cache import called
from heron.models.registry import load_families
from heron.quant.mixes import FILE_TYPES, file_type

PATTERN = "PATTERN=FORMAT"


def quantize(
    model: Annotated[str, typer.Argument(metavar="IN", help="A GGUF file (any shard of a split one) or a folder with safetensors.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write; in a folder a file named by model and type.")],
    type: Annotated[str, typer.Argument(metavar="TYPE", help="A file type, or several with commas between them.")] = "Q4_K_M",
    imatrix: Annotated[Path | None, typer.Option(help="An importance matrix, from `heron imatrix`.")] = None,
    tensor_type: Annotated[
        list[str] | None, typer.Option(metavar=PATTERN, help="A format for tensors with such names; again for more.")
    ] = None,
    pure: Annotated[bool, typer.Option("--pure", help="The base format for every tensor, without the type's mixture.")] = False,
    keep_split: Annotated[bool, typer.Option("--keep-split", help="Write as many files as the model has.")] = False,
    threads: Annotated[int | None, typer.Option(help="CPU threads; one a core if left out.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what the file would hold, and write nothing.")] = False,
    report: Annotated[Path | None, typer.Option(metavar="TEXT", help="Then measure what is lost on this text, and the speed.")] = None,
    chunks: Annotated[int | None, typer.Option(help="Windows of the text to read at most, for --report.")] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE.svg", help="Draw the report.")] = None,
) -> None:
    """Write a model in fewer bits: smaller, faster, and a little less exact.

    A type is a mixture: most weights get its base format, those that suffer more from rounding a better one. Q4_K_M is what most people
    use; Q8_0 is as good as the original; below Q4 an importance matrix helps much, and the IQ types of two bits and less need one.
    With --report each file is compared with the model that it was made of: size, divergence, agreement, speed. Files appear
    when they are complete; memory does not grow with the model. All types: docs/quantize.md.

    \b
    heron quantize model-F16.gguf model-Q4_K_M.gguf Q4_K_M
    heron quantize ./safetensors-folder model-Q8_0.gguf Q8_0
    heron quantize model-F16.gguf small.gguf IQ2_M --imatrix imatrix.gguf
    heron quantize model-F16.gguf out.gguf Q4_K_M --tensor-type attn_v=Q8_0
    heron quantize f16.gguf out/ Q8_0,Q4_K_M --report wiki.txt --plot loss.svg
    """
    types = [file_type(each) for each in type.split(",")]
    if len(types) > 1 and not output.is_dir():
        raise RequestError(f"several types are written into a folder, and {str(output)!r} is none; make it first")
    if plot is not None and report is None:
        raise RequestError("--plot draws what --report measures; give a text with --report")
    path = locate(model)
    matrix = None if imatrix is None else read_imatrix(imatrix)
    corpus = None if report is None else read_corpus([report])
    load_families()
    made = []
    for wanted in types:
        with Checkpoint(path) as checkpoint:
            planned = quantization(checkpoint, wanted, imatrix=matrix, overrides=_overrides(tensor_type or ()), pure=pure)
            if wanted == types[0] and any(not item.source.format.plain and item.source.format is not item.format for item in planned.items):
                note("the model is quantized already, and rounding twice loses more; quantize from the original where you can")
            if dry_run:
                _show(planned)
                continue
            target = output / f"{_stem(path)}-{wanted}.gguf" if output.is_dir() else output
            made.append((wanted, _write(planned, target, keep_split, threads)))
    if corpus is not None and made:
        _report(model, made, corpus, chunks, threads, plot)


def _write(planned: Quantization, target: Path, keep_split: bool, threads: int | None) -> Path:
    """The file, or the first of several."""
    begin = time.perf_counter()
    with _bar() as bar:
        task = bar.add_task(planned.type, total=planned.elements)
        written = planned.write(target, keep_split=keep_split, threads=threads, progress=lambda done: bar.advance(task, done))
    size, seconds = sum(file.stat().st_size for file in written), time.perf_counter() - begin
    bits = 8 * planned.nbytes / planned.elements
    note(f"{written[0]}: {planned.type}, {human_bytes(size)}, {bits:.2f} bits a weight, in {seconds:.1f} s")
    return written[0]


def _report(model: str, files: list[tuple[str, Path]], corpus: str, chunks: int | None, threads: int | None, drawing: Path | None) -> None:
    base = open_model(model, threads=threads)
    try:
        parts = windows(base, corpus, min(WINDOW, base.context_length), chunks)
        with reading_bar("windows") as bar:
            task = bar.add_task("measuring", total=len(parts) * len(files), said="")

            def opened(path: Path) -> Model:
                return open_model(str(path), threads=threads)

            rows = list(report_on(base, files, opened, parts, lambda: bar.advance(task)))
    finally:
        base.close()
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("type", "size", "bits", "perplexity", "KL", "same top", "decode t/s", "prefill t/s"):
        table.add_column(title, justify="left" if title == "type" else "right")
    for row in rows:
        speeds = (f"{row.decode:.1f}", f"{row.prefill:.1f}")
        loss = (f"{row.perplexity:.4f}", f"{row.kl:.4g}", f"{100 * row.top_agreement:.2f}%")
        table.add_row(row.name, human_bytes(row.bytes), f"{row.bits:.2f}", *loss, *speeds)
    Console(highlight=False).print(table)
    if drawing is not None:
        drawing.write_text(draw(rows, printable(Path(model).name)))
        note(f"{drawing}: the divergence of each type by its bits")


def _stem(path: Path) -> str:
    name = called(path)
    return next((name.removesuffix(f"-{known}") for known in FILE_TYPES if name.endswith(f"-{known}")), name)


def _overrides(given: list[str] | tuple[()]) -> list[tuple[str, str]]:
    pairs = [tuple(each.rpartition("=")[::2]) for each in given]
    if wrong := next((each for each, (pattern, format) in zip(given, pairs, strict=True) if not pattern or not format), None):
        raise RequestError(f"--tensor-type {wrong!r} is not {PATTERN}, as in attn_v=Q8_0")
    return [(pattern, format) for pattern, format in pairs]


def _bar() -> Progress:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _show(planned: Quantization) -> None:
    console, table = Console(highlight=False), Table(box=None, padding=(0, 2, 0, 0))
    for title, justify in (("tensor", "left"), ("from", "left"), ("to", "left"), ("size", "right"), ("", "left")):
        table.add_column(title, justify=justify)  # type: ignore[arg-type]
    for item in planned.items:
        table.add_row(printable(item.name), item.source.format.name, item.format.name, human_bytes(item.nbytes), item.why)
    console.print(table)
    counts = Counter(item.format.name for item in planned.items)
    console.print(", ".join(f"{count} {name}" for name, count in counts.most_common()))
    bits = 8 * planned.nbytes / planned.elements
    console.print(f"{planned.type}: {human_bytes(planned.nbytes)}, {bits:.2f} bits a weight, of {human_bytes(_before(planned))}")


def _before(planned: Quantization) -> int:
    return sum(item.source.nbytes for item in planned.items)
