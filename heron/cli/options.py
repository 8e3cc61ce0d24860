"""Options that several commands have, each group written once: a function whose parameters are the options, and what they amount to.

@with_options(params=sampling, where=loading)
def run(ctx: typer.Context, params: SamplingParams, where: dict[str, Any], ...) -> None: ...
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, get_type_hints

import typer

from heron.cli.where import Backend, CudaDevice, CudaGraphs, Device, Gpu, GpuLayers
from heron.config import DEFAULTS as CONFIG
from heron.engine.sampling import SamplingParams

_DEFAULTS = SamplingParams()


def with_options(**groups: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """In place of each parameter that is named, the command has the options of a group, and it gets what the group makes of them.

    Groups may be made of groups.
    """

    def combine(command: Callable[..., Any]) -> Callable[..., Any]:
        parameters: list[inspect.Parameter] = []
        for parameter in _parameters(command):
            parameters += _parameters(groups[parameter.name]) if parameter.name in groups else [parameter]

        @functools.wraps(command)
        def combined(**given: Any) -> Any:
            for name, group in groups.items():
                given[name] = group(**{each.name: given.pop(each.name) for each in _parameters(group)})
            return command(**given)

        combined.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        combined.__annotations__ = {each.name: each.annotation for each in parameters}
        return combined

    return combine


def _parameters(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """With what their annotations stand for; all by name, so that any order will do."""
    hints = get_type_hints(function, include_extras=True)
    found = inspect.signature(function).parameters.values()
    return [each.replace(annotation=hints[each.name], kind=inspect.Parameter.KEYWORD_ONLY) for each in found]


def sampling(
    max_tokens: Annotated[
        int, typer.Option("-n", "--max-tokens", min=-1, help="Generate at most so many tokens; -1: as many as the context holds.")
    ] = CONFIG["inference.default_max_new_tokens"],
    temperature: Annotated[float, typer.Option("-t", "--temperature", "--temp", help="0 takes the likeliest token.")] = CONFIG[
        "inference.temperature"
    ],
    top_k: Annotated[int, typer.Option(help="Keep the k likeliest tokens; 0: all.")] = _DEFAULTS.top_k,
    top_p: Annotated[float, typer.Option(help="Keep the likeliest tokens that add up to p.")] = CONFIG["inference.top_p"],
    min_p: Annotated[float, typer.Option(help="Keep tokens this likely, relative to the likeliest.")] = _DEFAULTS.min_p,
    typical_p: Annotated[float, typer.Option(help="Keep the most typical tokens that add up to p.")] = _DEFAULTS.typical_p,
    repeat_penalty: Annotated[float, typer.Option(help="Make recent tokens less likely; 1: off.")] = _DEFAULTS.repeat_penalty,
    repeat_last_n: Annotated[int, typer.Option(help="How many recent tokens penalties look at; -1: all.")] = _DEFAULTS.repeat_last_n,
    frequency_penalty: Annotated[float, typer.Option(help="Subtracted for each time a token occurred.")] = _DEFAULTS.frequency_penalty,
    presence_penalty: Annotated[float, typer.Option(help="Subtracted once from tokens that occurred.")] = _DEFAULTS.presence_penalty,
    mirostat: Annotated[int, typer.Option(help="1 or 2: hold the surprise of the text at a target.")] = _DEFAULTS.mirostat,
    mirostat_tau: Annotated[float, typer.Option(help="Mirostat's target, in bits.")] = _DEFAULTS.mirostat_tau,
    mirostat_eta: Annotated[float, typer.Option(help="Mirostat's rate.")] = _DEFAULTS.mirostat_eta,
    seed: Annotated[int | None, typer.Option(help="The same seed gives the same text again.")] = None,
    stop: Annotated[list[str] | None, typer.Option(metavar="TEXT", help="End before this text; may be given again.")] = None,
) -> SamplingParams:
    """How tokens are chosen. Raises RequestError for a value out of range."""
    return _DEFAULTS.changed(
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
        max_tokens=None if max_tokens == -1 else max_tokens,
        stop=tuple(stop or ()),
    )


def placing(
    backend: Backend = "auto",
    device: Device = "auto",
    gpu: Gpu = None,
    gpu_layers: GpuLayers = None,
    cuda_device: CudaDevice = 0,
) -> dict[str, Any]:
    """Where a model is computed, as ``open_model`` takes it."""
    return {"backend": backend, "device": device, "gpu": gpu, "gpu_layers": gpu_layers, "cuda_device_id": cuda_device}


Threads = Annotated[int | None, typer.Option(help="CPU threads; the physical cores it may use if left out.")]
KVDtype = Annotated[str, typer.Option(help="How keys and values are kept: f16, f32 or q8_0.")]
Repack = Annotated[
    bool, typer.Option("--repack/--no-repack", help="Lay weights out for this CPU, or use them in the file: less memory, slower.")
]


@with_options(where=placing)
def loading(
    *,
    ctx_size: Annotated[int, typer.Option("-c", "--ctx-size", min=0, help="Context in tokens; 0: the model's own.")] = 0,
    threads: Threads = None,
    where: dict[str, Any],
    cuda_graphs: CudaGraphs = True,
    kv_dtype: KVDtype = "f16",
    mmap: Annotated[bool, typer.Option("--mmap/--no-mmap", help="Map the model's files, or read them.")] = True,
    repack: Repack = True,
    mlock: Annotated[bool, typer.Option("--mlock", help="Keep the weights in memory, never swapped out.")] = False,
) -> dict[str, Any]:
    """Where a model is computed, and how it is held: what ``open_model`` takes."""
    held = {"ctx_size": ctx_size, "threads": threads, "cuda_graphs": cuda_graphs, "kv_dtype": kv_dtype}
    return {**where, **held, "mmap": mmap, "repack": repack, "mlock": mlock}
