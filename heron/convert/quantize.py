"""A model quantized: which format each of its tensors gets, what that will weigh, and the file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf import shards_of
from heron.checkpoint.gguf_writer import write_shards
from heron.checkpoint.imatrix import ImportanceMatrix
from heron.checkpoint.metadata import Metadata, ValueType
from heron.checkpoint.pairing import materialize
from heron.checkpoint.tensor import Tensor
from heron.convert.place import check_place
from heron.convert.quantized import Quantized, Watched
from heron.convert.to_gguf import QUANTIZATION_VERSION, as_gguf
from heron.errors import CheckpointError, RequestError
from heron.quant.formats import FORMATS, Format
from heron.quant.mixes import FILE_TYPES, NEED_IMPORTANCE, Facts, assign


@dataclass(frozen=True)
class Item:
    """A tensor of the file to come: its ``source``, the ``format`` it gets, and ``why`` where that is not the type's base format."""

    name: str
    source: Tensor
    format: Format
    why: str = ""
    importance: NDArray[np.float32] | None = None

    @property
    def nbytes(self) -> int:
        return self.source.n_rows * self.format.row_bytes(self.source.row_length)


@dataclass(frozen=True)
class Quantization:
    """A checkpoint as a file of ``type`` would hold it; nothing is computed before ``write``."""

    checkpoint: Checkpoint
    type: str
    metadata: Metadata
    items: tuple[Item, ...]

    @property
    def nbytes(self) -> int:
        return sum(item.nbytes for item in self.items)

    @property
    def elements(self) -> int:
        return sum(item.source.size for item in self.items)

    def write(
        self, path: Path, *, keep_split: bool = False, threads: int | None = None, progress: Callable[[int], None] = lambda elements: None
    ) -> list[Path]:
        """Write the file, tensor by tensor, in memory that does not grow with the model; with ``keep_split`` in as many as the source has.

        ``progress`` is told of elements as they are done. Files appear under their names when they are complete. Raises
        CheckpointError where the disk has too little space, or the source is the file to be written.
        """
        check_place(path, self.nbytes, self.checkpoint)
        made: dict[str, Tensor] = {
            item.name: Watched(Quantized(item.name, item.source, item.format, item.importance, threads), progress) for item in self.items
        }
        shards = [list(made)]
        if keep_split and self.checkpoint.source == "gguf" and len(self.checkpoint.files) > 1:
            shards = shards_of(self.checkpoint.files)
        return write_shards(path, self.metadata, [{name: made[name] for name in names} for names in shards])


def quantization(
    checkpoint: Checkpoint,
    type: str,
    *,
    imatrix: ImportanceMatrix | None = None,
    overrides: Iterable[tuple[str, str]] = (),
    pure: bool = False,
) -> Quantization:
    """What a file of this type (heron/quant/mixes.py) holds. ``pure`` gives every quantized tensor the base format.

    Of a folder the tokenizer too, and what is not quantized as `as_gguf` has it. Raises RequestError where formats of very few bits would
    be chosen without an importance matrix, CheckpointError where the matrix is another model's, and what `as_gguf` does.
    """
    metadata, stored = as_gguf(checkpoint)
    tensors = {name: materialize(tensor) for name, tensor in checkpoint.tensors.items()}
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    facts = facts_of(checkpoint, imatrix is not None)
    chosen = assign(type, shapes, facts, [(".", FILE_TYPES[type][1])] if pure else overrides)
    items = []
    for name, tensor in tensors.items():
        format, why = chosen.get(name, ("", ""))
        if not format:
            items.append(Item(name, stored[name], stored[name].format))
            continue
        weights = imatrix.of(name, tensor.shape) if imatrix is not None else None
        if weights is None:
            _refuse_blind(type, name, format)
        items.append(Item(name, tensor, FORMATS[format], why, None if FORMATS[format].plain else weights))
    _refuse_strangers(imatrix, shapes)
    return Quantization(checkpoint, type, _metadata(metadata, type, imatrix), tuple(items))


def facts_of(checkpoint: Checkpoint, importance: bool) -> Facts:
    """What rules ask of this model."""
    metadata, arch = checkpoint.metadata, checkpoint.architecture
    layers = metadata.integer(f"{arch}.block_count", 0)
    heads = metadata.per_layer(f"{arch}.attention.head_count", layers, [0])[0] if layers else 0
    keys = metadata.per_layer(f"{arch}.attention.head_count_kv", layers, [heads])[0] if layers else 0
    return Facts(arch, layers, heads // keys if keys else 0, metadata.integer(f"{arch}.expert_count", 0), importance)


def _refuse_blind(type: str, name: str, format: str) -> None:
    embeds = name in ("token_embd.weight", "output.weight", "per_layer_token_embd.weight")
    if not embeds and (format in NEED_IMPORTANCE or (type == "Q2_K_S" and format == "Q2_K")):
        raise RequestError(
            f"{format} for {name!r} needs an importance matrix, or the model will be of no use: "
            "make one with `heron imatrix MODEL TEXT`, and give it as --imatrix"
        )


def _refuse_strangers(imatrix: ImportanceMatrix | None, shapes: Mapping[str, tuple[int, ...]]) -> None:
    if imatrix is not None and not any(name in shapes for name in imatrix.sums):
        raise CheckpointError("the importance matrix names none of the model's tensors; it is another model's")


def _metadata(source: Metadata, type: str, imatrix: ImportanceMatrix | None) -> Metadata:
    made = Metadata(source, where=source.where)
    made.set("general.file_type", FILE_TYPES[type][0], ValueType.UINT32)
    made.set("general.quantization_version", QUANTIZATION_VERSION, ValueType.UINT32)
    if imatrix is not None:
        made.set("quantize.imatrix.entries_count", len(imatrix.sums), ValueType.UINT32)
        made.set("quantize.imatrix.chunks_count", imatrix.chunks, ValueType.UINT32)
        if imatrix.datasets:
            made["quantize.imatrix.dataset"] = Path(imatrix.datasets[0]).name
    return made
