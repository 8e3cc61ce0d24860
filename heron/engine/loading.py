"""``heron.load``: a model from its files, on the backend that it is asked for on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from heron.backends.base import Options
from heron.backends.choose import Where
from heron.checkpoint.checkpoint import Checkpoint
from heron.engine.model import Model
from heron.errors import RequestError
from heron.graph.graph import Model as GraphModel
from heron.hub.pull import locate as on_hub
from heron.models.registry import load_families


def load(
    path: str | Path,
    *,
    backend: str = "auto",
    device: str = "auto",
    gpu: bool | None = None,
    gpu_layers: int | None = None,
    cuda_device_id: int = 0,
    threads: int | None = None,
    ctx_size: int = 0,
    kv_dtype: str = "f16",
    activations: str = "int8",
    dtype: str = "auto",
    mmap: bool = True,
    repack: bool = True,
    mlock: bool = False,
    cuda_graphs: bool = True,
    rewrite: Callable[[GraphModel], GraphModel] | None = None,
) -> Model:
    """Load a GGUF file, a HF folder, or a model by its name on the hub (``ORG/NAME:QUANT``), which is pulled if it is not in the cache.

    ``backend`` is ``native``, ``torch``, ``reference``, or ``auto``: torch where a device is named, or there is a CUDA GPU that the weights
    fit on, else native; ``device`` is what torch calls it (``cuda:0``, ``xpu``, ``mps``, ``cpu``), ``auto`` a GPU where there is one;
    ``gpu`` True is torch on the first GPU, False the CPU; ``gpu_layers`` so many of the last layers on the device, the rest on the CPU
    (more than there are: all, and the output); ``cuda_device_id`` which of several CUDA GPUs is meant;
    ``threads`` None a thread for each physical core that this process may use (by its affinity and its control group's quota);
    ``ctx_size`` 0 the model's own context, reduced to fit in memory; ``kv_dtype`` f16, f32 or q8_0;
    ``activations`` int8 or f32 (in products with quantized weights; native);
    ``dtype`` f32, f16, bf16, or auto: what torch computes in (docs/torch.md).
    Without ``mmap`` files are read instead of mapped. Without ``repack`` the native backend multiplies from the mapped file, without
    a copy of the weights: half the memory, and slower. ``mlock`` keeps the weights in memory, with a warning where the system does
    not allow it (docs/loading.md). Without ``cuda_graphs`` torch launches each op of each step (docs/torch.md).
    ``rewrite`` is a pass over the model's graphs (heron/graph/passes) that is applied first.
    Raises CheckpointError for a damaged file, HubError for what cannot be pulled, and UnsupportedError for what this version cannot run.
    """
    where = Where(backend, device, gpu, gpu_layers, cuda_device_id)
    if threads is not None and threads < 1:
        raise RequestError(f"threads is {threads}; give at least 1, or none for the machine's cores")
    if not (mmap or repack):
        raise RequestError("without repack the weights are used from the mapped file, so mmap is needed; leave one of them out")
    if isinstance(path, str) and not Path(path).exists():
        path = on_hub(path) or path
    if Path(path).suffix != ".gguf" or not Path(path).is_file():
        load_families()  # a HF folder is opened by what its family says of it
    checkpoint = Checkpoint(path, mmap=mmap)
    try:
        options = Options(kv_dtype, activations, dtype, threads, repack=repack, mlock=mlock, cuda_graphs=cuda_graphs)
        return Model(checkpoint, where, options, ctx_size, rewrite)
    except BaseException:
        checkpoint.close()
        raise
