"""`heron plan`: what a model will take here, and how fast it can be, before it is loaded."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from json import dumps
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.cli.info import human_bytes, human_count, printable
from heron.cli.opening import locate
from heron.cli.options import KVDtype, Repack, Threads
from heron.engine.forecast import DECODE_SHARE, PREFILL_SHARE, Forecast, forecast, on_gpus
from heron.engine.limits import machine_limits
from heron.engine.memory import available_bytes, resident_bytes
from heron.errors import RequestError
from heron.models.registry import build_model, load_families

#: Contexts and numbers of sequences that the table shows, the model's own context beside them.
CONTEXTS, SEQUENCES = (2048, 8192, 32768), (1, 4, 16)


def plan(
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Context of a sequence; 0: the model's own.")] = 0,
    sequences: Annotated[int, typer.Option("-s", "--sequences", help="Sequences beside each other.")] = 1,
    kv_dtype: KVDtype = "f16",
    repack: Repack = True,
    threads: Threads = None,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Time this machine's memory, for the speeds.")] = True,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Tell what a model takes of this machine's memory, what fits, and how fast it can be, without loading it.

    Memory is what the native backend will hold: the weights as they are laid out, the cache of whole contexts, the buffers of the
    largest step, and the program itself. Speeds follow from how fast this machine reads memory (a decoded token reads every weight
    once) and multiplies.

    \b
    heron plan model.gguf
    heron plan model.gguf --ctx-size 32768 --sequences 4 --kv-dtype q8_0
    """
    path = locate(model)
    if ctx_size < 0 or sequences < 1:
        raise RequestError("a context is 0 (the model's own) or more tokens, and at least 1 sequence is needed")
    load_families()
    with Checkpoint(path) as checkpoint:
        graphs = build_model(checkpoint)
        told = forecast(graphs, Options(kv_dtype=kv_dtype, repack=repack), sequences)
        found = facts(told, ctx_size or graphs.context_length, sequences, machine_limits(threads) if measure else {})
        gpus = [asdict(each) for each in on_gpus(graphs, told.options)]
        found = {"path": str(path), "architecture": checkpoint.architecture, **found, "gpus": gpus}
    if json:
        print(dumps(found, indent=2))
    else:
        _show(found, told)


def facts(told: Forecast, context: int, sequences: int, limits: dict[str, float]) -> dict[str, Any]:
    """All that is foretold, as JSON has it: bytes, tokens/s."""
    free, program = available_bytes(), resident_bytes()
    found: dict[str, Any] = {
        "parameters": told.parameters,
        "context_length": told.model.context_length,
        "ctx_size": context,
        "sequences": sequences,
        "weights": dict(told.weights),
        "cache": told.cache(context, sequences),
        "buffers": told.buffers,
        "program": program,
        "total": told.total(context, sequences) + program,
        "free": free,
        "fits": told.total(context, sequences) <= free,
        "longest_context": told.fits(free, sequences),
    }
    if limits and told.read:
        found["read_bandwidth"] = limits["read"]
        found["decode"] = {"most": told.decode_speed(limits["read"]), "most_full": told.decode_speed(limits["read"], context)}
        found["expected"] = {
            "decode": DECODE_SHARE * found["decode"]["most"],
            "decode_full": DECODE_SHARE * found["decode"]["most_full"],
        }
        if "multiply" in limits:
            found["expected"]["prefill"] = PREFILL_SHARE * told.prefill_speed(limits["multiply"])
    return found


def _show(found: dict[str, Any], told: Forecast) -> None:
    console, table = Console(highlight=False), Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    for part, size in found["weights"].items():
        table.add_row(f"weights: {part}", human_bytes(size))
    table.add_row(f"cache: {found['sequences']} x {found['ctx_size']} tokens, {told.options.kv_dtype}", human_bytes(found["cache"]))
    table.add_row("buffers", human_bytes(found["buffers"]))
    table.add_row("program", human_bytes(found["program"]))
    table.add_row("all of it", human_bytes(found["total"]))
    table.add_row("free here", f"{human_bytes(found['free'])}: {'it fits' if found['fits'] else 'it does NOT fit'}")
    console.print(
        printable(f"{found['path']}: {found['architecture']}, {human_count(found['parameters'])} parameters a token"),
        markup=False,
        soft_wrap=True,
    )
    console.print(table)
    console.print(_contexts(found, told))
    for gpu in found["gpus"]:
        have = f"{gpu['device']} has {human_bytes(gpu['free'])} free, the model takes {human_bytes(gpu['need'])} there with a short context"
        some = f"{gpu['layers']} of {gpu['of']} layers fit: --gpu-layers {gpu['layers']}"
        console.print(f"{have}: {'it fits' if gpu['layers'] > gpu['of'] else some}", soft_wrap=True)
    if "expected" in found:
        expected, most = found["expected"], found["decode"]
        say = partial(console.print, soft_wrap=True)
        say(
            f"decode about {expected['decode']:.1f} tokens/s ({expected['decode_full']:.1f} at a full context); "
            f"at most {most['most']:.1f} at the {found['read_bandwidth'] / 1e9:.1f} GB/s that this memory gives"
        )
        if "prefill" in expected:
            say(f"prompts about {expected['prefill']:.0f} tokens/s")


def _contexts(found: dict[str, Any], told: Forecast) -> Table:
    """Memory by context and sequences; what does not fit stands in brackets."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("context")
    for count in SEQUENCES:
        table.add_column(f"{count} sequence{'s' if count > 1 else ''}", justify="right")
    own = told.model.context_length
    for context in sorted({c for c in CONTEXTS if c < own} | {own}):
        totals = [told.total(context, count) + found["program"] for count in SEQUENCES]
        table.add_row(f"{context} tokens", *(human_bytes(t) if t <= found["free"] else f"({human_bytes(t)})" for t in totals))
    return table
