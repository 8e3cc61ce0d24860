"""Models that train: the same graph as everywhere, without states, under torch's automatic differentiation. See docs/training.md."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as recomputed

from heron.backends.base import Adapter
from heron.backends.batch import Batch

# The kernel modules register their kernels when they are imported.
from heron.backends.torch import attention, core, recurrent, routing  # noqa: F401
from heron.backends.torch.device import DTYPES, compute_dtype, find_device
from heron.backends.torch.inputs import Inputs, arrays
from heron.backends.torch.parameters import (
    Held,
    Merged,
    TrainedWeights,
    matching,
    place,
    stored_order,
    trainable_weights,
    with_changed,
)
from heron.backends.torch.segments import Segment, run, segments
from heron.backends.torch.step import KERNELS, DeviceAdapter, Kernel, Step
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.tensor import Tensor as Stored
from heron.errors import RequestError, UnsupportedError
from heron.graph.dims import R, T
from heron.graph.graph import Graph, Node, Weight
from heron.graph.passes.lora import attach
from heron.graph.passes.stateless import stateless
from heron.graph.passes.tap import tap
from heron.models.registry import build_model, load_families


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters beside the matrices whose names fit ``targets`` (Hu et al. 2021): y + alpha / rank * B A x."""

    targets: tuple[str, ...] = ("blk.*.attn_*", "blk.*.ffn_*")
    rank: int = 8
    alpha: float = 16.0


def trainable(
    source: str | Path | Checkpoint,
    *,
    train: Sequence[str] | None = None,
    lora: Lora | None = None,
    device: str = "cpu",
    dtype: str = "auto",
    held: str = "f32",
    recompute: bool = True,
) -> TrainableModel:
    """A model that trains, of a GGUF file or a folder of safetensors.

    ``train``      patterns of the canonical names of the weights that train (``blk.*.attn_*``, ``*norm*``); all by themselves, or
                   none with ``lora``. The others stay as they are stored, quantized ones too.
    ``dtype``      what values and products are computed in (``f32``, ``f16``, ``bf16``; ``auto`` is what suits the device)
    ``held``       the type of the weights that train (``f32``, ``bf16``)
    ``recompute``  keep only what layers hand to each other, and compute each once more for the gradient: less memory, a third slower

    Raises CheckpointError and UnsupportedError as ``heron.load`` does, UnsupportedError for patterns that fit nothing and for models
    that cannot train, BackendError for a device that is not here.
    """
    if not isinstance(source, Checkpoint):
        load_families()  # so that a folder can be opened
        source = Checkpoint(source)
    return TrainableModel(source, train, lora, device, dtype, held, recompute)


class TrainableModel(nn.Module):
    """A model as a torch module: ``model(tokens)`` gives logits, ``named_parameters()`` what trains, by canonical names.

    Arguments as of ``trainable``. Make the optimizer after it; move nothing to another device or type.
    """

    def __init__(
        self, checkpoint: Checkpoint, train: Sequence[str] | None, lora: Lora | None, device: str, dtype: str, held: str, recompute: bool
    ) -> None:
        super().__init__()
        self.checkpoint, self.lora, self.recompute = checkpoint, lora, recompute
        self.device = find_device(device)
        self.dtype = compute_dtype(self.device, dtype)
        if held not in ("f32", "bf16"):
            raise UnsupportedError(f"held {held!r} is not one of f32, bf16")
        model = build_model(checkpoint)
        self.vocab_size = model.vocab_size
        entry = "forward" if "forward" in model.entries else "encode"
        graph = stateless(model, entry)
        patterns = train if train is not None else () if lora else ("*",)
        self._trained = self._parameters_of(graph, patterns, DTYPES[held])
        self._pairs = self._adapters_of(graph, lora) if lora else {}
        if self._pairs:
            graph = stateless(attach(model, self._pairs.keys()), entry)
        self._graph = graph
        self._found = graph.weights()
        self._weights = TrainedWeights(self.device, self.dtype, self._trained)
        self._weights.load(graph)
        self._parts: dict[tuple[str, ...], tuple[Graph, tuple[Segment, ...]]] = {}

    # What trains

    def _parameters_of(self, graph: Graph, patterns: Sequence[str], dtype: torch.dtype) -> dict[str, nn.Parameter]:
        candidates = trainable_weights(graph, self.checkpoint)
        for pattern in patterns:
            if not matching(candidates, [pattern]):
                raise UnsupportedError(f"train={pattern!r} fits none of the weights of this model: {', '.join(list(candidates)[:8])}, ...")
        found = {}
        for name in matching(candidates, patterns):
            values = torch.from_numpy(np.array(candidates[name].tensor.numpy())).to(self.device, dtype)
            found[name] = nn.Parameter(values)
            place(self, name, found[name])
        return found

    def _adapters_of(self, graph: Graph, lora: Lora) -> dict[str, tuple[nn.Parameter, nn.Parameter]]:
        shared = {node.weights[0] for node in graph.nodes if node.op == "embed"}
        matrices = {
            w.name: w for node in graph.nodes for w in node.weights[:1] if node.op == "linear" and w is not None and w not in shared
        }
        names = matching(matrices, lora.targets)
        if not names:
            raise UnsupportedError(f"no matrix fits {', '.join(lora.targets)}; there are {', '.join(list(matrices)[:8])}, ...")
        found = {}
        for name in names:
            out, size = matrices[name].shape
            down = nn.Parameter(torch.empty(lora.rank, size, device=self.device).uniform_(-1, 1) * size**-0.5)
            up = nn.Parameter(torch.zeros(out, lora.rank, device=self.device))
            for parameter, letter in ((down, "a"), (up, "b")):
                place(self, name.replace(".weight", f".lora_{letter}"), parameter)
            found[name] = (down, up)
        return found

    def _scaled_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """A [r, in] and B [out, r] of each matrix, with the scale in B."""
        return {name: (down, up * (self.lora.alpha / self.lora.rank)) for name, (down, up) in self._pairs.items()} if self.lora else {}

    # Computing

    def forward(self, tokens: Any, query_start: Any = None) -> Tensor:
        """tokens [B, L] -> logits [B, L, vocab]; or tokens [T] of sequences that begin at ``query_start`` [S + 1] -> [T, vocab].

        Tokens are integers on the host (a list, an array, or a tensor of the CPU). Raises RequestError for those outside the vocabulary.
        """
        return self.outputs(tokens, query_start)["logits"]

    def outputs(self, tokens: Any, query_start: Any = None, want: Iterable[str] = ("logits",)) -> dict[str, Tensor]:
        """As ``forward``, for each output or mark in ``want``: ``hidden:2`` is the residual stream behind two layers, ``pooled`` an
        encoder's vector of each sequence [B, hidden].
        """
        ids = self._checked(tokens)
        batch = _whole(ids, query_start, adapter=1 if self._pairs else 0)
        graph, parts = self._segments(tuple(want))
        adapters = {1: DeviceAdapter(self._scaled_pairs())} if self._pairs else {}
        step = Step(batch, Inputs(arrays(batch, {}), self.device), self.device, self.dtype, self._weights, adapters=adapters)
        values = {value: step.input(name) for name, value in graph.inputs.items()}
        run(parts, TRAINING, step, values, self.recompute)
        results = {name: values[value] for name, value in graph.outputs.items()}
        return {name: x.unflatten(0, ids.shape) if graph.outputs[name].shape[0] in (T, R) else x for name, x in results.items()}

    def _checked(self, tokens: Any) -> NDArray[np.int32]:
        ids = np.asarray(tokens.cpu() if isinstance(tokens, Tensor) else tokens)
        if ids.ndim not in (1, 2) or not ids.size or ids.min() < 0 or ids.max() >= self.vocab_size:
            raise RequestError(f"tokens of shape {list(ids.shape)} are not [B, L] or [T] numbers from 0 to {self.vocab_size - 1}", "tokens")
        return ids.astype(np.int32)

    def _segments(self, want: tuple[str, ...]) -> tuple[Graph, tuple[Segment, ...]]:
        if want not in self._parts:
            graph = tap(self._graph, want)
            self._parts[want] = (graph, segments(graph))
        return self._parts[want]

    # What has been learned

    def tensors(self) -> dict[str, Stored]:
        """The checkpoint's tensors with those that have trained in their places, adapters added to their matrices: for ``write_gguf``.

        Rows are read when they are asked for: write them before training goes on.
        """
        changed = {name: (self._found[name], Held(parameter)) for name, parameter in self._trained.items()}
        merged: dict[str, tuple[Weight, Stored]] = {}
        for name, (down, up) in self._scaled_pairs().items():
            weight = self._found[name]
            before = changed[name][1] if name in changed else weight.tensor
            merged[name] = (weight, Merged(before, down.detach(), up.detach(), stored_order(weight)))
        return with_changed(self.checkpoint, {**changed, **merged})

    def adapter(self) -> Adapter:
        """The low-rank pairs, for ``Executable.load_adapter`` of any backend that runs the same checkpoint."""
        pairs = {name: (down, up) for name, (down, up) in self._scaled_pairs().items()}
        return Adapter({name: (down.detach().cpu().numpy(), up.detach().cpu().numpy()) for name, (down, up) in pairs.items()})


def _whole(ids: NDArray[np.int32], query_start: Any, adapter: int) -> Batch:
    """A batch of whole sequences, all of whose rows are wanted."""
    if query_start is None:
        count, length = (1, len(ids)) if ids.ndim == 1 else ids.shape
        query_start = np.arange(count + 1) * length
    starts, total = np.asarray(query_start, np.int32), prod(ids.shape)
    lengths = np.diff(starts)
    adapters = np.full(len(lengths), adapter, np.int32)
    return Batch(ids.reshape(-1), starts, lengths, np.arange(total, dtype=np.int32), adapter=adapters)


def _latent_attend(step: Step, node: Node, *inputs: Tensor) -> tuple[Tensor, ...]:
    """Keys and values are made anew for the gradient where their matrices must be decoded first, so that what is decoded is let go."""
    up = [step.weights.matrix(weight).data for weight in node.weights if weight is not None]
    compute = partial(KERNELS["latent_attend"], step, node)
    if torch.is_grad_enabled() and any(data.dtype != step.dtype and not data.requires_grad for data in up):
        results: tuple[Tensor, ...] = recomputed(compute, *inputs, use_reentrant=False, preserve_rng_state=False)
        return results
    return compute(*inputs)


#: The kernels of graphs without states.
TRAINING: dict[str, Kernel] = {**KERNELS, "latent_attend": _latent_attend}
