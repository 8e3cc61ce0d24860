"""The head of a GGUF file: metadata and where its tensors lie, from bytes that may be anything.

Nothing is believed before it is checked: every length, count, type and offset is held against the size of the file
before a byte is taken or allocated, so a file of n bytes costs O(n) time and memory whatever it claims.

Source: the GGUF specification, versions 2 and 3, in either byte order.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata, ValueType
from heron.checkpoint.strings import Strings
from heron.errors import CheckpointError
from heron.quant.formats import Format, by_id

MAGIC = b"GGUF"
VERSIONS = (2, 3)
DEFAULT_ALIGNMENT = 32
MAX_DIMENSIONS = 4
MAX_KEY_BYTES = 65535

# Scalars by type: struct code and numpy code, both without a byte order.
SCALARS: dict[ValueType, str] = {
    ValueType.UINT8: "B",
    ValueType.INT8: "b",
    ValueType.UINT16: "H",
    ValueType.INT16: "h",
    ValueType.UINT32: "I",
    ValueType.INT32: "i",
    ValueType.FLOAT32: "f",
    ValueType.BOOL: "?",
    ValueType.UINT64: "Q",
    ValueType.INT64: "q",
    ValueType.FLOAT64: "d",
}

# The least that can be stored of a pair (key length, key of one byte, type, value) and of a tensor's description
# (name length, rank, type, offset): what bounds their counts.
_LEAST_PAIR = 8 + 1 + 4 + 1
_LEAST_TENSOR = 8 + 4 + 4 + 8

_AGAIN = "the file is damaged: download or convert it again"


@dataclass(frozen=True)
class TensorInfo:
    """Where a tensor lies: `offset` and `nbytes` in the file, and what is there (`shape` in numpy's order)."""

    name: str
    shape: tuple[int, ...]
    format: Format
    offset: int
    nbytes: int


@dataclass(frozen=True)
class Header:
    """A GGUF file's head. `data_offset` is where tensor data begin (or would, if there were any)."""

    version: int
    big_endian: bool
    alignment: int
    metadata: Metadata
    tensors: dict[str, TensorInfo]
    data_offset: int


def parse_header(data: NDArray[np.uint8], where: str) -> Header:
    """Parse and check the whole of a file's head. `data` is the whole file, `where` its name in errors.

    Raises CheckpointError, naming the offset and the cause, for anything but a well-formed file.
    """
    cursor = _Cursor(data, where)
    if (magic := bytes(cursor.take(4, "the magic"))) != MAGIC:
        raise cursor.error(0, f"begins with {magic!r} and not with {MAGIC!r}: this is not a GGUF file")
    version = cursor.integer("I", "the version")
    if version & 0xFFFF == 0 and version:
        cursor.order = ">"
        version = int.from_bytes(version.to_bytes(4, "little"), "big")
    if version not in VERSIONS:
        raise cursor.error(4, f"GGUF version {version} is not one of {VERSIONS}: convert the model with a current tool")
    n_tensors = cursor.count("the number of tensors", _LEAST_TENSOR)
    n_pairs = cursor.count("the number of metadata pairs", _LEAST_PAIR)
    metadata = Metadata(where=where)
    for _ in range(n_pairs):
        _read_pair(cursor, metadata)
    alignment = check_alignment(metadata)
    described = [_read_tensor(cursor) for _ in range(n_tensors)]
    data_offset = -(-cursor.at // alignment) * alignment
    tensors = _place(cursor, described, data_offset, alignment)
    return Header(version, cursor.order == ">", alignment, metadata, tensors, data_offset)


class _Cursor:
    """A position in the file, and the only way to bytes: what is asked for is there, or it is an error."""

    def __init__(self, data: NDArray[np.uint8], where: str) -> None:
        self.data, self.view, self.size, self.where = data, data.data, len(data), where
        self.at = 0
        self.order = "<"

    def error(self, offset: int, cause: str) -> CheckpointError:
        return CheckpointError(f"{self.where}: at byte {offset}: {cause}")

    def take(self, count: int, what: str) -> memoryview:
        start, stop = self.at, self.at + count
        if stop > self.size:
            raise self.error(start, f"{what} needs {count} bytes, but the file ends at byte {self.size}; {_AGAIN}")
        self.at = stop
        return self.view[start:stop]

    def scalar(self, code: str, what: str) -> Any:
        return struct.unpack(self.order + code, self.take(struct.calcsize("=" + code), what))[0]

    def integer(self, code: str, what: str) -> int:
        return int(self.scalar(code, what))

    def count(self, what: str, least: int) -> int:
        """A 64-bit count of things that take at least `least` bytes each, all of them still to come."""
        start = self.at
        count = self.integer("Q", what)
        if count * least > self.size - self.at:
            raise self.error(start, f"{what} is {count}, more than the {self.size - self.at} bytes that follow can hold; {_AGAIN}")
        return count

    def string(self, what: str) -> str:
        start = self.at
        length = self.count(f"the length of {what}", 1)
        return self.decode(bytes(self.take(length, what)), start, what)

    def decode(self, raw: bytes, start: int, what: str) -> str:
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise self.error(start, f"{what} is not UTF-8: {raw[:40]!r}; {_AGAIN}") from None

    def strings(self, count: int, what: str) -> Sequence[str]:
        """An array of strings: a list, made in one tight loop, or Strings where there are many and all is well."""
        start, end = self.at, self.size - 8
        if many := Strings.read(self.data, start, count, self.order == ">"):
            self.at = start + many.stored_bytes
            return many
        unpack = struct.Struct(self.order + "Q").unpack_from
        view, at, spans = self.view, start, []
        for _ in range(count):
            if at > end:
                raise self.error(at, f"{what} has strings beyond the end of the file at byte {self.size}; {_AGAIN}")
            length = unpack(view, at)[0]
            spans.append((at + 8, length))
            at += 8 + length
        if at > self.size:
            raise self.error(start, f"{what} has strings that reach beyond the end of the file at byte {self.size}; {_AGAIN}")
        raw, self.at = bytes(view[start:at]), at
        try:
            return [raw[first - start : first - start + length].decode() for first, length in spans]
        except UnicodeDecodeError as error:
            raise self.error(start, f"{what} has a string that is not UTF-8: {error.object[:40]!r}; {_AGAIN}") from None


def _read_pair(cursor: _Cursor, metadata: Metadata) -> None:
    start = cursor.at
    key = cursor.string("a metadata key")
    if not key or len(key) > MAX_KEY_BYTES:
        raise cursor.error(start, f"a metadata key of {len(key)} characters; {_AGAIN}")
    if key in metadata:
        raise cursor.error(start, f"the metadata key {key!r} occurs twice; {_AGAIN}")
    type = _value_type(cursor, f"the type of {key!r}")
    if type == ValueType.ARRAY:
        metadata[key] = _read_array(cursor, key)
    elif type == ValueType.STRING:
        metadata[key] = cursor.string(f"the value of {key!r}")
    else:
        at = cursor.at
        value = cursor.scalar("B" if type == ValueType.BOOL else SCALARS[type], f"the value of {key!r}")
        if type == ValueType.BOOL:
            if value > 1:
                raise cursor.error(at, f"the boolean {key!r} is {value}, neither 0 nor 1; {_AGAIN}")
            value = bool(value)
        metadata.set(key, value, type)


def _value_type(cursor: _Cursor, what: str) -> ValueType:
    start = cursor.at
    number = cursor.integer("I", what)
    try:
        return ValueType(number)
    except ValueError:
        raise cursor.error(start, f"{what} is {number}, which is not a GGUF value type; {_AGAIN}") from None


def _read_array(cursor: _Cursor, key: str) -> Any:
    start = cursor.at
    type = _value_type(cursor, f"the element type of {key!r}")
    what = f"the array {key!r}"
    if type == ValueType.ARRAY:
        raise cursor.error(start, f"{what} is made of arrays, which no model needs; {_AGAIN}")
    if type == ValueType.STRING:
        return cursor.strings(cursor.count(f"the length of {what}", 8), what)
    dtype = np.dtype(SCALARS[type])
    count = cursor.count(f"the length of {what}", dtype.itemsize)
    at = cursor.at
    cursor.take(count * dtype.itemsize, what)
    raw = cursor.data[at : cursor.at]
    if type == ValueType.BOOL and count and raw.max() > 1:
        raise cursor.error(at, f"{what} of booleans holds {raw.max()}, neither 0 nor 1; {_AGAIN}")
    # A copy: arrays are small beside the tensors, and metadata outlive the mapping.
    return raw.view(cursor.order + SCALARS[type]).astype(dtype)


def check_alignment(metadata: Metadata) -> int:
    """What tensor offsets are multiples of. Raises CheckpointError when the metadata name no valid one."""
    alignment = metadata.integer("general.alignment", DEFAULT_ALIGNMENT)
    kind = metadata.types.get("general.alignment", ValueType.UINT32)
    if kind != ValueType.UINT32 or alignment < 8 or alignment & (alignment - 1):
        raise CheckpointError(
            f"{metadata.where}: general.alignment is {alignment} ({kind.name}), "
            f"but must be a UINT32, a power of two and at least 8; {_AGAIN}"
        )
    return alignment


def _read_tensor(cursor: _Cursor) -> tuple[int, str, tuple[int, ...], Format, int]:
    """One description: (where it stands, name, shape, format, offset from the start of the data)."""
    start = cursor.at
    name = cursor.string("a tensor's name")
    rank = cursor.integer("I", f"the rank of {name!r}")
    if rank > MAX_DIMENSIONS:
        raise cursor.error(start, f"tensor {name!r} has {rank} dimensions, at most {MAX_DIMENSIONS} are possible; {_AGAIN}")
    shape = tuple(cursor.integer("Q", f"a dimension of {name!r}") for _ in range(rank))[::-1]
    if any(not 0 < n < 1 << 63 for n in shape):
        raise cursor.error(start, f"tensor {name!r} has the impossible shape {list(shape)}; {_AGAIN}")
    type_at = cursor.at
    try:
        fmt = by_id(cursor.integer("I", f"the type of {name!r}"))
        fmt.row_bytes(shape[-1] if shape else 1)
    except CheckpointError as error:
        text = str(error)
        raise (error if text.startswith(cursor.where) else cursor.error(type_at, f"tensor {name!r}: {text}")) from None
    return start, name, shape, fmt, cursor.integer("Q", f"the offset of {name!r}")


def _place(
    cursor: _Cursor, described: list[tuple[int, str, tuple[int, ...], Format, int]], data_offset: int, alignment: int
) -> dict[str, TensorInfo]:
    """Check that each tensor lies inside the file, on the alignment, and that no two share a byte."""
    tensors: dict[str, TensorInfo] = {}
    for start, name, shape, fmt, offset in described:
        if name in tensors:
            raise cursor.error(start, f"the tensor name {name!r} occurs twice; {_AGAIN}")
        if offset % alignment:
            raise cursor.error(start, f"the offset {offset} of tensor {name!r} is not a multiple of the alignment {alignment}; {_AGAIN}")
        nbytes = prod(shape[:-1]) * fmt.row_bytes(shape[-1] if shape else 1)
        first = data_offset + offset
        if first + nbytes > cursor.size:
            cause = f"tensor {name!r} needs bytes {first} to {first + nbytes}, but the file ends at byte {cursor.size}: it is cut short"
            raise cursor.error(start, f"{cause}; {_AGAIN}")
        tensors[name] = TensorInfo(name, shape, fmt, first, nbytes)
    reached, last = data_offset, ""
    for info in sorted(tensors.values(), key=lambda t: t.offset):
        if info.offset < reached:
            raise cursor.error(info.offset, f"tensors {last!r} and {info.name!r} overlap; {_AGAIN}")
        reached, last = info.offset + info.nbytes, info.name
    return tensors
