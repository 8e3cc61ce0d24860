"""GGUF files made byte by byte, so that they can be wrong in every way."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
CODES = {U8: "B", I8: "b", U16: "H", I16: "h", U32: "I", I32: "i", F32: "f", BOOL: "B", U64: "Q", I64: "q", F64: "d"}


def string(text: str | bytes, order: str = "<", length: int | None = None) -> bytes:
    raw = text.encode() if isinstance(text, str) else text
    return struct.pack(order + "Q", len(raw) if length is None else length) + raw


def value(kind: int, content: object, order: str = "<") -> bytes:
    return string(content, order) if kind == STRING else struct.pack(order + CODES[kind], content)  # type: ignore[arg-type]


def pair(key: str | bytes, kind: int, content: object, order: str = "<") -> bytes:
    """A metadata pair; `content` as bytes is put there as it is."""
    raw = content if isinstance(content, bytes) else value(kind, content, order)
    return string(key, order) + struct.pack(order + "I", kind) + raw


def array(kind: int, items: list, order: str = "<", length: int | None = None) -> bytes:
    """The content of a pair of type ARRAY."""
    head = struct.pack(order + "IQ", kind, len(items) if length is None else length)
    return head + b"".join(value(kind, item, order) for item in items)


def tensor(name: str | bytes, dims: tuple[int, ...], kind: int, offset: int, order: str = "<", rank: int | None = None) -> bytes:
    count = len(dims) if rank is None else rank
    return string(name, order) + struct.pack(f"{order}I{len(dims)}QIQ", count, *dims, kind, offset)


@dataclass
class File:
    """A small valid file: the llama architecture, an F32 tensor [3, 4] and a Q8_0 tensor [2, 32]. Fields may be replaced."""

    magic: bytes = b"GGUF"
    version: int = 3
    order: str = "<"
    pairs: list[bytes] = field(default_factory=list)
    tensors: list[bytes] | None = None
    n_pairs: int | None = None
    n_tensors: int | None = None
    alignment: int = 32
    data: bytes = bytes(range(48)) + bytes(16) + bytes(68) + bytes(28)

    def bytes(self) -> bytes:
        pairs = [pair("general.architecture", STRING, "llama", self.order), *self.pairs]
        tensors = self.tensors
        if tensors is None:
            tensors = [tensor("a", (4, 3), 0, 0, self.order), tensor("b", (32, 2), 8, 64, self.order)]
        counts = (len(tensors) if self.n_tensors is None else self.n_tensors, len(pairs) if self.n_pairs is None else self.n_pairs)
        head = self.magic + struct.pack(self.order + "IQQ", self.version, *counts) + b"".join(pairs + tensors)
        return head + bytes(-len(head) % self.alignment) + self.data
