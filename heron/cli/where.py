"""The options of every command that loads a model which say where it runs."""

from __future__ import annotations

from typing import Annotated

import typer

Backend = Annotated[str, typer.Option(help="auto, native, torch or reference.")]
Device = Annotated[str, typer.Option(help="Where torch computes: cuda:0, xpu, mps, cpu; auto: a GPU where there is one.")]


def _preferred(ctx: typer.Context, gpu: bool | None) -> bool | None:
    """What the configuration says where the command line says nothing of a GPU: options that are given were read before."""
    said = gpu is not None or ctx.params.get("device", "auto") != "auto" or ctx.params.get("gpu_layers")
    return gpu if said or ctx.obj is None or ctx.obj["device.prefer_gpu"] else False


Gpu = Annotated[
    bool | None,
    typer.Option(
        "--gpu/--no-gpu",
        callback=_preferred,
        help="Compute on a GPU, or on none; left out: on a CUDA GPU that the weights fit on, if device.prefer_gpu.",
    ),
]
CudaDevice = Annotated[
    int, typer.Option("--cuda-device", metavar="N", min=0, help="Which CUDA GPU computes, of several, where --device names none.")
]
GpuLayers = Annotated[
    int | None,
    typer.Option(
        "-ngl", "--gpu-layers", "--n-gpu-layers", metavar="N", help="The last N layers on the GPU, the rest on the CPU; 999: all of it."
    ),
]
CudaGraphs = Annotated[
    bool, typer.Option("--cuda-graphs/--no-cuda-graphs", help="On CUDA, record decode steps and replay them, or launch each op of each.")
]
