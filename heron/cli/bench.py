"""`heron bench`: how fast a model reads prompts and decodes on this machine."""

from __future__ import annotations

from itertools import product
from json import dumps
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from heron import __version__
from heron.cli.info import human_bytes, human_count, printable, summarize
from heron.cli.opening import open_model
from heron.cli.options import KVDtype, Repack, placing, with_options
from heron.cli.prompt import note
from heron.cli.where import CudaGraphs
from heron.engine.bench import Bench, machine
from heron.errors import RequestError

#: What is said of the model.
ABOUT = ("path", "architecture", "name", "parameters", "bytes", "formats")


@with_options(where=placing)
def bench(
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    *,
    threads: Annotated[str | None, typer.Option(metavar="N,...", help="CPU threads; the physical cores it may use if left out.")] = None,
    prompt: Annotated[str, typer.Option("-p", "--prompt", metavar="N,...", help="Tokens of a prompt; 0: decode after none.")] = "512",
    generate: Annotated[str, typer.Option("-n", "--generate", metavar="N,...", help="Tokens to decode; 0: prefill alone.")] = "32",
    batch: Annotated[str, typer.Option("-b", "--batch", metavar="N,...", help="Sequences at a time.")] = "1",
    repetitions: Annotated[int, typer.Option("-r", "--repetitions", help="Times that each is measured.")] = 3,
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Context of a sequence; 0: the model's own.")] = 0,
    kv_dtype: KVDtype = "f16",
    repack: Repack = True,
    where: dict[str, Any],
    cuda_graphs: CudaGraphs = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Measure how fast a model reads prompts (prefill) and decodes.

    Threads, prompt, generate and batch may each be a list; every combination is measured. Prompts are random tokens, tokens are
    not sampled, and each sequence decodes after its prompt. Speeds are tokens per second of all sequences together, as median,
    least and most of the repetitions.

    \b
    heron bench                                        the pocket model
    heron bench model.gguf --threads 1,2               one thread beside two
    heron bench model.gguf --prompt 64 --batch 1,8,32  more sequences at a time
    heron bench model.gguf --json > speed.json         figures for a program
    """
    pool: list[int | None] = [*_numbers("threads", threads, 1)] if threads is not None else [None]
    prompts, counts, batches = _numbers("prompt", prompt, 0), _numbers("generate", generate, 0), _numbers("batch", batch, 1)
    if repetitions < 1:
        raise RequestError(f"repetitions is {repetitions}; measure at least once")
    if not any(prompts) and not any(counts):
        raise RequestError("there is nothing to measure: neither --prompt nor --generate names tokens")
    context = max(prompts) + max(counts)
    facts: dict[str, Any] = {"heron": __version__, "machine": machine(), "kv_dtype": kv_dtype, "repack": repack}
    facts |= {"repetitions": repetitions, "results": []}
    with _bar() as bar:
        task = bar.add_task("measuring", total=len(pool) * len(prompts) * len(batches) * repetitions)
        for wanted in pool:
            held: dict[str, Any] = {
                "threads": wanted,
                "ctx_size": ctx_size,
                "kv_dtype": kv_dtype,
                "repack": repack,
                "cuda_graphs": cuda_graphs,
            }
            loaded = open_model(model, **where, **held)
            try:
                if loaded.is_encoder and any(counts):
                    note("this model generates nothing: its prefill alone is measured")
                timer = Bench(loaded, context, max(batches))
                timer.warm()
                for each, together in product(prompts, batches):
                    speeds = timer.measure(each, counts, together, repetitions, lambda: bar.advance(task))
                    facts["results"] += [{**speed.facts(), "threads": loaded.executable.threads} for speed in speeds]
                about = summarize(loaded.checkpoint)
                facts |= {"backend": loaded.backend, "device": loaded.device, "model": {key: about[key] for key in ABOUT}}
            finally:
                loaded.close()
    if json:
        print(dumps(facts, indent=2))
    else:
        _show(facts)


def _bar() -> Progress:
    """How far it has come, in the terminal."""
    console = Console(stderr=True)
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def _numbers(name: str, text: str, least: int) -> list[int]:
    """The whole numbers of a list, each once. Raises RequestError for what is none, or is too small."""
    try:
        found = list(dict.fromkeys(int(part) for part in text.split(",")))
    except ValueError:
        raise RequestError(f"--{name} is {text!r}; give a whole number, or several with commas between them") from None
    if min(found) < least:
        raise RequestError(f"--{name} is {text!r}; the least is {least}")
    return found


def _show(facts: dict[str, Any]) -> None:
    about, console = facts["model"], Console(highlight=False)
    size = f"{human_count(about['parameters'])} parameters, {human_bytes(about['bytes'])}"
    console.print(printable(f"{about['path']}: {about['architecture']}, {size}"), markup=False)
    device = "" if facts["device"] == "cpu" else f" on {facts['device']}"
    console.print(printable(f"{facts['machine']['cpu']}, {facts['backend']} backend{device}, {facts['kv_dtype']} cache"), markup=False)
    table = Table(box=None, padding=(0, 2, 0, 0))
    for title in ("", "threads", "batch", "context", "tokens", "tokens/s", "least", "most"):
        table.add_column(title, justify="right" if title else "left")
    for row in facts["results"]:
        speeds = (f"{row[key]:.1f}" for key in ("tokens_per_second", "min", "max"))
        table.add_row(row["kind"], *(str(row[key]) for key in ("threads", "batch", "context", "tokens")), *speeds)
    console.print(table)
