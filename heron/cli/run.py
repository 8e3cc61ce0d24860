"""`heron run`: a prompt in, text out as it is generated."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from heron.cli.opening import open_model
from heron.cli.prompt import constraint_of, note, read_prompt
from heron.cli.session import Session
from heron.cli.settings import given
from heron.cli.stats import report
from heron.cli.where import Backend, CudaDevice, CudaGraphs, Device, Gpu, GpuLayers
from heron.config import DEFAULTS as CONFIG
from heron.engine.sampling import SamplingParams

DEFAULTS = SamplingParams()


def run(
    ctx: typer.Context,
    model: Annotated[
        str | None, typer.Argument(help="A GGUF file, a folder with safetensors, or ORG/NAME; the pocket model if left out.")
    ] = None,
    prompt: Annotated[str | None, typer.Option("-p", "--prompt", help="The prompt.")] = None,
    file: Annotated[Path | None, typer.Option("-f", "--file", help="Read the prompt from a file.")] = None,
    max_tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", min=-1, help="Generate at most so many tokens; -1: as many as the context holds.")
    ] = CONFIG["inference.default_max_new_tokens"],
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Context in tokens; 0: the model's own.")] = 0,
    temperature: Annotated[float, typer.Option("-t", "--temperature", "--temp", help="0 takes the likeliest token.")] = CONFIG[
        "inference.temperature"
    ],
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0: all.")] = DEFAULTS.top_k,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that add up to p.")] = CONFIG["inference.top_p"],
    min_p: Annotated[float, typer.Option(help="Keep tokens this likely, relative to the likeliest.")] = DEFAULTS.min_p,
    typical_p: Annotated[float, typer.Option(help="Keep the most typical tokens that add up to p.")] = DEFAULTS.typical_p,
    repeat_penalty: Annotated[float, typer.Option(help="Make recent tokens less likely; 1: off.")] = DEFAULTS.repeat_penalty,
    repeat_last_n: Annotated[int, typer.Option(help="How many recent tokens penalties look at; -1: all.")] = DEFAULTS.repeat_last_n,
    frequency_penalty: Annotated[float, typer.Option(help="Subtracted for each time a token occurred.")] = DEFAULTS.frequency_penalty,
    presence_penalty: Annotated[float, typer.Option(help="Subtracted once from tokens that occurred.")] = DEFAULTS.presence_penalty,
    mirostat: Annotated[int, typer.Option(help="1 or 2: hold the surprise of the text at a target.")] = DEFAULTS.mirostat,
    mirostat_tau: Annotated[float, typer.Option(help="Mirostat's target, in bits.")] = DEFAULTS.mirostat_tau,
    mirostat_eta: Annotated[float, typer.Option(help="Mirostat's rate.")] = DEFAULTS.mirostat_eta,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text again.")] = None,
    json_schema: Annotated[str | None, typer.Option(metavar="JSON|FILE", help="Answer in JSON that is valid by this schema.")] = None,
    grammar: Annotated[Path | None, typer.Option(metavar="FILE", help="Answer in the language of this grammar, GBNF or Lark.")] = None,
    regex: Annotated[str | None, typer.Option(help="Answer what this expression matches from beginning to end.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be given again.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads; the physical cores it may use if left out.")] = None,
    backend: Backend = "auto",
    device: Device = "auto",
    gpu: Gpu = None,
    gpu_layers: GpuLayers = None,
    cuda_device: CudaDevice = 0,
    cuda_graphs: CudaGraphs = True,
    kv_dtype: Annotated[str, typer.Option(help="How keys and values are kept: f16, f32 or q8_0.")] = "f16",
    mmap: Annotated[bool, typer.Option("--mmap/--no-mmap", help="Map the model's files, or read them.")] = True,
    repack: Annotated[
        bool, typer.Option("--repack/--no-repack", help="Lay weights out for this CPU, or use them in the file: less memory, slower.")
    ] = True,
    mlock: Annotated[bool, typer.Option("--mlock", help="Keep the weights in memory, never swapped out.")] = False,
    system: Annotated[str | None, typer.Option(help="The system message.")] = None,
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without a chat template.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Talk in turns.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print times, speeds and memory at the end.")] = False,
) -> None:
    """Answer a prompt, or talk, with a model.

    The answer goes to stdout, everything else to stderr. Ctrl-C ends an answer.

    \b
    heron run                                       talk with the model that ships with Heron
    heron run -p "What can you do?"                 ask it one thing
    heron run model.gguf -p "A haiku" -n 100        another model, at most 100 tokens
    heron run model.gguf -p "Summarize:" < a.txt    a prompt, then text that is piped in
    heron run model.gguf -p "Who?" --json-schema person.json    an answer that is valid by a schema
    heron run base.gguf --raw -t 0 -p "Once upon"   continue a text, likeliest tokens only
    """
    params = DEFAULTS.changed(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        typical_p=typical_p,
        repeat_penalty=repeat_penalty,
        repeat_last_n=repeat_last_n,
        frequency_penalty=frequency_penalty,
        presence_penalty=presence_penalty,
        mirostat=mirostat,
        mirostat_tau=mirostat_tau,
        mirostat_eta=mirostat_eta,
        seed=seed,
        constraint=constraint_of(json_schema, grammar, regex),
        max_tokens=None if max_tokens == -1 else max_tokens,
        stop=tuple(stop or ()),
    )
    text = read_prompt(prompt, file, interactive)
    where: dict[str, Any] = {"backend": backend, "device": device, "gpu": gpu, "gpu_layers": gpu_layers, "threads": threads}
    where |= {"cuda_device_id": cuda_device, "cuda_graphs": cuda_graphs}
    loaded = open_model(model, **where, ctx_size=ctx_size, kv_dtype=kv_dtype, mmap=mmap, repack=repack, mlock=mlock)
    loaded.must_generate()
    session = Session(loaded, params, system, raw, note, given(ctx, "max_tokens"))
    try:
        if interactive or text is None:
            session.talk(text)
        else:
            session.answer(text)
    finally:
        if stats:
            report(loaded)
        loaded.close()
