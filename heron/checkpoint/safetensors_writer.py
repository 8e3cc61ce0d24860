"""Writing safetensors files: a JSON head, then the tensors, streamed. Source: the safetensors format description."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError

_CHUNK_BYTES = 16 << 20  # of a tensor that are in memory at a time
_DTYPES = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64")


def write_safetensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write the tensors, which are of plain formats. Raises CheckpointError for others, and when the file cannot be written."""
    head: dict[str, object] = {"__metadata__": {"format": "pt"}}
    offset = 0
    for name, tensor in tensors.items():
        if tensor.format.name not in _DTYPES:
            raise CheckpointError(f"tensor {name!r} is {tensor.format}, which safetensors files cannot hold; convert it to another format")
        head[name] = {"dtype": tensor.format.name, "shape": list(tensor.shape), "data_offsets": [offset, offset + tensor.nbytes]}
        offset += tensor.nbytes
    raw = json.dumps(head, ensure_ascii=False).encode()
    raw += b" " * (-len(raw) % 8)
    try:
        with path.open("wb") as file:
            file.write(len(raw).to_bytes(8, "little") + raw)
            for tensor in tensors.values():
                step = max(1, _CHUNK_BYTES // tensor.row_bytes)
                for start in range(0, tensor.n_rows, step):
                    rows = tensor.rows(start, min(start + step, tensor.n_rows))
                    file.write(np.ascontiguousarray(rows).data)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and the space on its disk"
        ) from None


def write_safetensors_shards(folder: Path, shards: Sequence[Mapping[str, Tensor]]) -> list[Path]:
    """Write ``model.safetensors``, or numbered shards of it and an index that says which tensor is where; return the files.

    Raises CheckpointError as `write_safetensors`.
    """
    if len(shards) == 1:
        write_safetensors(folder / "model.safetensors", shards[0])
        return [folder / "model.safetensors"]
    files = [folder / f"model-{number:05}-of-{len(shards):05}.safetensors" for number in range(1, len(shards) + 1)]
    places: dict[str, str] = {}
    for file, tensors in zip(files, shards, strict=True):
        write_safetensors(file, tensors)
        places |= dict.fromkeys(tensors, file.name)
    total = sum(tensor.nbytes for tensors in shards for tensor in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(places.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2) + "\n")
    return files
