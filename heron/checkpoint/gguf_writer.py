"""Writing GGUF files: what was read and is written again is equal, key for key, type for type, tensor for tensor."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.gguf_header import MAGIC, MAX_DIMENSIONS, SCALARS, check_alignment
from heron.checkpoint.metadata import Metadata, ValueType
from heron.checkpoint.pairing import materialize
from heron.checkpoint.strings import Strings
from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.checkpoint.views import InOrder
from heron.errors import CheckpointError
from heron.quant.formats import FORMATS

VERSION = 3
_CHUNK_BYTES = 16 << 20  # of a tensor that are in memory at a time

_ARRAY_TYPES = {np.dtype(code): type for type, code in SCALARS.items()}
_INTEGERS = (ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64)  # in the order of preference
_FLOATS = (ValueType.FLOAT32, ValueType.FLOAT64)
_PLAIN = {np.dtype(FORMATS[name].layout): FORMATS[name] for name in ("F32", "F16", "F64", "I8", "I16", "I32", "I64")}


def write_gguf(path: str | Path, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor | NDArray[Any]]) -> None:
    """Write a GGUF file (version 3, little-endian), streaming the tensors.

    Scalars of a Metadata keep the type with which they were read; others become UINT32 (or the first wider integer that
    holds them), FLOAT32, BOOL, STRING; lists become arrays, numpy arrays keep their type. Tensors may be numpy arrays;
    those marked with pairing "half" are written in GGUF's order of rows.

    The file appears under its name only when it is complete: it is written beside it and renamed.
    Raises CheckpointError for what GGUF cannot hold, and when the file cannot be written.
    """
    with _appearing(Path(path)) as file:
        _write(file, str(path), metadata, {name: _stored(name, tensor) for name, tensor in tensors.items()})


def write_shards(
    path: str | Path, metadata: Mapping[str, Any], shards: Sequence[Mapping[str, Tensor | NDArray[Any]]], alone: bool = False
) -> list[Path]:
    """Write a model as files ``NAME-00001-of-0000N.gguf``, the first of which has the metadata; return them.

    One shard is written as ``path`` itself, unless it is to be split ``alone``. None of the files appears before all are complete.
    """
    path = Path(path)
    if len(shards) == 1 and not alone:
        write_gguf(path, metadata, shards[0])
        return [path]
    stem, count = path.name.removesuffix(".gguf"), len(shards)
    paths = [path.with_name(f"{stem}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    total = sum(map(len, shards))
    with ExitStack() as together:
        for number, (file_path, tensors) in enumerate(zip(paths, shards, strict=True)):
            own = Metadata(metadata if number == 0 else {}, where=str(file_path))
            own.set("split.no", number, ValueType.UINT16)
            own.set("split.count", count, ValueType.UINT16)
            own.set("split.tensors.count", total, ValueType.INT32)
            file = together.enter_context(_appearing(file_path))
            _write(file, str(file_path), own, {name: _stored(name, tensor) for name, tensor in tensors.items()})
    return paths


def _write(file: BinaryIO, where: str, metadata: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    alignment = check_alignment(metadata if isinstance(metadata, Metadata) else Metadata(metadata, where=where))
    file.write(_head(metadata, tensors, alignment))
    for tensor in tensors.values():
        file.write(bytes(-file.tell() % alignment))
        step = max(1, _CHUNK_BYTES // tensor.row_bytes)
        for start in range(0, tensor.n_rows, step):
            rows = tensor.rows(start, min(start + step, tensor.n_rows))
            file.write(np.ascontiguousarray(rows).data)
    file.write(bytes(-file.tell() % alignment))


def _stored(name: str, tensor: Tensor | NDArray[Any]) -> Tensor:
    """The tensor as the file will hold it."""
    if isinstance(tensor, np.ndarray):
        fmt = _PLAIN.get(tensor.dtype.newbyteorder("<"))
        if fmt is None:
            raise CheckpointError(f"tensor {name!r} is of dtype {tensor.dtype}, which GGUF files do not hold; convert it to float32")
        little = np.ascontiguousarray(tensor, fmt.layout)
        tensor = MappedTensor(little.reshape(-1).view(np.uint8), tensor.shape, fmt)
    tensor = materialize(tensor)
    if tensor.pairing:
        raise CheckpointError(f"tensor {name!r} is a view of rows paired for rope by {tensor.pairing}; materialize it before it is cut")
    if len(tensor.shape) > MAX_DIMENSIONS or not tensor.size:
        raise CheckpointError(
            f"tensor {name!r} has shape {list(tensor.shape)}; GGUF needs at most {MAX_DIMENSIONS} dimensions, none of them 0"
        )
    if tensor.column_order is not None:
        tensor = InOrder(tensor)
    if not tensor.format.in_gguf:
        raise CheckpointError(f"tensor {name!r} is {tensor.format}, which GGUF files cannot hold; convert it to another format")
    return tensor


def _head(metadata: Mapping[str, Any], tensors: Mapping[str, Tensor], alignment: int) -> bytes:
    parts = [MAGIC, struct.pack("<IQQ", VERSION, len(tensors), len(metadata))]
    types = metadata.types if isinstance(metadata, Metadata) else {}
    for key, value in metadata.items():
        parts += [_string(key), *_value(key, value, types.get(key))]
    offset = 0
    for name, tensor in tensors.items():
        dims = tensor.shape[::-1]
        parts += [_string(name), struct.pack(f"<I{len(dims)}QIQ", len(dims), *dims, tensor.format.id, offset)]
        offset += -(-tensor.nbytes // alignment) * alignment
    head = b"".join(parts)
    return head + bytes(-len(head) % alignment)


def _string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def _value(key: str, value: Any, stored: ValueType | None) -> Iterator[bytes]:
    """Type and value. `stored` is the type that the value was read with, which is kept if the value still fits."""
    if isinstance(value, np.generic):
        value, stored = value.item(), _ARRAY_TYPES.get(value.dtype)
    if isinstance(value, (list, tuple)) and not all(isinstance(v, str) for v in value):
        value = _array(key, list(value))
    if isinstance(value, np.ndarray):
        yield struct.pack("<IIQ", ValueType.ARRAY, _element_type(key, value), len(value))
        yield value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes()
    elif isinstance(value, (list, tuple, Strings)):
        yield struct.pack("<IIQ", ValueType.ARRAY, ValueType.STRING, len(value))
        yield from map(_string, value)
    elif isinstance(value, str):
        yield struct.pack("<I", ValueType.STRING) + _string(value)
    else:
        type, raw = _scalar(key, value, stored)
        yield struct.pack("<I", type) + raw


def _array(key: str, values: list[Any]) -> NDArray[Any]:
    if all(isinstance(v, bool) for v in values):
        return np.array(values, np.bool_)
    try:
        if all(isinstance(v, int) for v in values):
            return np.array(values, np.int32 if all(abs(v) < 1 << 31 for v in values) else np.int64)
        return np.array(values, np.float32)
    except (TypeError, ValueError, OverflowError):
        raise CheckpointError(f"metadata {key!r}: GGUF arrays hold numbers, booleans or strings of one type, not {values!r:.80}") from None


def _element_type(key: str, array: NDArray[Any]) -> ValueType:
    type = _ARRAY_TYPES.get(array.dtype.newbyteorder("="))
    if type is None or array.ndim != 1:
        raise CheckpointError(f"metadata {key!r}: GGUF has no arrays of {array.dtype} with {array.ndim} dimensions")
    return type


def _scalar(key: str, value: Any, stored: ValueType | None) -> tuple[ValueType, bytes]:
    if isinstance(value, bool):
        return ValueType.BOOL, struct.pack("?", value)
    if not isinstance(value, (int, float)):
        raise CheckpointError(f"metadata {key!r}: GGUF cannot hold a {type(value).__name__}")
    kinds = _INTEGERS if isinstance(value, int) and stored not in _FLOATS else _FLOATS
    if stored in SCALARS and stored != ValueType.BOOL:
        kinds = (stored, *kinds)
    for kind in kinds:
        try:
            return kind, struct.pack("<" + SCALARS[kind], value)
        except (struct.error, OverflowError):
            continue  # it does not fit
    raise CheckpointError(f"metadata {key!r}: {value} does not fit into any of GGUF's integers")


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well, and leaves nothing when it does not."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        raise CheckpointError(
            f"{path}: cannot be written ({error.strerror or error}); check the folder and the space on its disk"
        ) from None
    finally:
        with suppress(OSError):
            partial.unlink()
