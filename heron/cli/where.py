"""The options of every command that loads a model which say where it runs."""

from __future__ import annotations

from typing import Annotated

import typer

Backend = Annotated[str, typer.Option(help="auto, native, torch or reference.")]
Device = Annotated[str, typer.Option(help="Where torch computes: cuda:0, xpu, mps, cpu; auto: a GPU where there is one.")]
Gpu = Annotated[
    bool | None,
    typer.Option("--gpu/--no-gpu", help="Compute on the first GPU, or on none; left out: on a CUDA GPU that the weights fit on."),
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
