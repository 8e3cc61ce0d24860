"""`heron run`: a prompt in, text out as it is generated."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from typing import Annotated, Optional

import typer

from heron.cli.session import Session
from heron.cli.stats import report
from heron.engine.model import load
from heron.engine.sampling import SamplingParams
from heron.errors import CheckpointError, RequestError

DEFAULTS = SamplingParams()


def run(
    model: Annotated[Optional[str], typer.Argument(help="A GGUF file or a folder with safetensors; the pocket model if left out.")] = None,  # noqa: UP045
    prompt: Annotated[Optional[str], typer.Option("-p", "--prompt", help="The prompt.")] = None,  # noqa: UP045
    file: Annotated[Optional[Path], typer.Option("-f", "--file", help="Read the prompt from a file.")] = None,  # noqa: UP045
    max_tokens: Annotated[Optional[int], typer.Option("-n", "--max-tokens", help="Generate at most so many tokens.")] = None,  # noqa: UP045
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", help="Context in tokens; 0: the model's own.")] = 0,
    temperature: Annotated[
        float, typer.Option("-t", "--temperature", "--temp", help="0 takes the likeliest token.")
    ] = DEFAULTS.temperature,
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0: all.")] = DEFAULTS.top_k,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that add up to p.")] = DEFAULTS.top_p,
    min_p: Annotated[float, typer.Option(help="Keep tokens this likely, relative to the likeliest.")] = DEFAULTS.min_p,
    typical_p: Annotated[float, typer.Option(help="Keep the most typical tokens that add up to p.")] = DEFAULTS.typical_p,
    repeat_penalty: Annotated[float, typer.Option(help="Make recent tokens less likely; 1: off.")] = DEFAULTS.repeat_penalty,
    repeat_last_n: Annotated[int, typer.Option(help="How many recent tokens penalties look at; -1: all.")] = DEFAULTS.repeat_last_n,
    frequency_penalty: Annotated[float, typer.Option(help="Subtracted for each time a token occurred.")] = DEFAULTS.frequency_penalty,
    presence_penalty: Annotated[float, typer.Option(help="Subtracted once from tokens that occurred.")] = DEFAULTS.presence_penalty,
    mirostat: Annotated[int, typer.Option(help="1 or 2: hold the surprise of the text at a target.")] = DEFAULTS.mirostat,
    mirostat_tau: Annotated[float, typer.Option(help="Mirostat's target, in bits.")] = DEFAULTS.mirostat_tau,
    mirostat_eta: Annotated[float, typer.Option(help="Mirostat's rate.")] = DEFAULTS.mirostat_eta,
    seed: Annotated[Optional[int], typer.Option(help="The same seed gives the same text again.")] = None,  # noqa: UP045
    stop: Annotated[Optional[list[str]], typer.Option(help="End before this text; may be given again.")] = None,  # noqa: UP045
    threads: Annotated[Optional[int], typer.Option(help="CPU threads; the machine's cores if left out.")] = None,  # noqa: UP045
    backend: Annotated[str, typer.Option(help="auto, native or reference.")] = "auto",
    kv_dtype: Annotated[str, typer.Option(help="How keys and values are kept: f16, f32 or q8_0.")] = "f16",
    system: Annotated[Optional[str], typer.Option(help="The system message.")] = None,  # noqa: UP045
    raw: Annotated[bool, typer.Option("--raw", help="Continue the prompt as it is, without a chat template.")] = False,
    interactive: Annotated[bool, typer.Option("-i", "--interactive", help="Talk in turns.")] = False,
    stats: Annotated[bool, typer.Option("--stats", help="Print times, speeds and memory at the end.")] = False,
) -> None:
    """Answer a prompt, or talk, with a model.

    heron run -p "What can you do?"

    heron run model.gguf -p "Write a haiku" -t 0.7 -n 100 --stats

    echo "Summarize:" | heron run model.gguf
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
        max_tokens=max_tokens,
        stop=tuple(stop or ()),
    )
    text = read_prompt(prompt, file)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        loaded = load(locate(model), backend=backend, threads=threads, ctx_size=ctx_size, kv_dtype=kv_dtype)
    for warning in caught:
        note(str(warning.message))
    own = loaded.graph_model.context_length
    if not ctx_size and loaded.context_length < own:
        note(f"the context is reduced from {own} to {loaded.context_length} tokens, to fit in memory")
    session = Session(loaded, params, system, raw, note)
    try:
        if interactive or text is None:
            session.talk(text)
        else:
            session.answer(text)
    finally:
        if stats:
            report(loaded, session.seed)
        loaded.close()


def note(text: str) -> None:
    print(f"heron: {text}", file=sys.stderr)


def locate(model: str | None) -> Path:
    """The model's path. Raises CheckpointError where there is none."""
    if model is None:
        from heron import pocket

        return pocket.path()
    path = Path(model).expanduser()
    if not path.exists():
        raise CheckpointError(f"there is no model at {model!r}; give a GGUF file, or a folder with config.json and safetensors")
    return path


def read_prompt(prompt: str | None, file: Path | None) -> str | None:
    """What was asked: -p, the file, what is piped in; several are joined in this order. None means to talk in turns."""
    parts = [] if prompt is None else [prompt]
    if file is not None:
        try:
            parts.append(file.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise RequestError(f"the prompt file {str(file)!r} cannot be read: {error}") from None
    if not sys.stdin.isatty() and (not parts or _piped()):
        try:
            piped = sys.stdin.buffer.read().decode()
        except UnicodeDecodeError as error:
            raise RequestError(f"what is piped in is not UTF-8 text: {error}") from None
        if piped:
            parts.append(piped)
        elif not parts:
            raise RequestError("there is no prompt: give -p, -f, or pipe text in")
    return "\n".join(parts) if parts else None


def _piped() -> bool:
    """Whether stdin is a pipe or file that holds text now: a prompt was given, so an open, silent stdin is not waited for."""
    import os
    import select
    import stat

    try:
        mode = os.fstat(sys.stdin.fileno()).st_mode
        if stat.S_ISREG(mode):
            return True
        return stat.S_ISFIFO(mode) and bool(select.select([sys.stdin], [], [], 0)[0])
    except (OSError, ValueError):
        return False
