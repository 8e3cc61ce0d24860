"""``tokenizer.model``: SentencePiece's protocol buffer, read without its library.

Source of the field numbers: https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto and, for the
encoding, https://protobuf.dev/programming-guides/encoding/.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from heron.errors import TokenizerError

UNIGRAM, BPE = 1, 2
_PIECES, _TRAINER, _NORMALIZER = 1, 2, 3
_MODEL_TYPE, _UNKNOWN_ID, _BOS_ID, _EOS_ID, _PAD_ID = 3, 40, 41, 42, 43
_CHARSMAP, _ADD_PREFIX, _MERGE_SPACES = 2, 3, 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MAX_PIECES = 1 << 24


@dataclass
class SentencePieceModel:
    """The parts of the file that encoding needs; fields that are not in it keep these values, the format's defaults."""

    tokens: list[str] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)
    algorithm: int = UNIGRAM
    unknown: int = 0
    bos: int = 1
    eos: int = 2
    pad: int = -1
    charsmap: bytes = b""
    add_prefix: bool = True
    merge_spaces: bool = True


def read_sentencepiece(data: bytes, where: str) -> SentencePieceModel:
    """Raises TokenizerError when `data` is not a SentencePiece model; `where` names it in the message."""
    try:
        return _read(data)
    except (IndexError, ValueError, struct.error) as error:
        raise TokenizerError(f"{where}: this is not a SentencePiece model, or it is damaged ({error}); download it again") from None


def _read(data: bytes) -> SentencePieceModel:
    model = SentencePieceModel()
    for number, value in _fields(data):
        if number == _PIECES:
            piece = dict(_fields(_message(value)))
            model.tokens.append(_message(piece.get(1, b"")).decode())
            model.scores.append(struct.unpack("<f", _message(piece.get(2, bytes(4))))[0])
            model.kinds.append(_integer(piece.get(3, 1)))
        elif number == _TRAINER:
            trainer = dict(_fields(_message(value)))
            model.algorithm = _integer(trainer.get(_MODEL_TYPE, model.algorithm))
            model.unknown = _integer(trainer.get(_UNKNOWN_ID, model.unknown))
            model.bos = _integer(trainer.get(_BOS_ID, model.bos))
            model.eos = _integer(trainer.get(_EOS_ID, model.eos))
            model.pad = _integer(trainer.get(_PAD_ID, model.pad))
        elif number == _NORMALIZER:
            normalizer = dict(_fields(_message(value)))
            model.charsmap = _message(normalizer.get(_CHARSMAP, b""))
            model.add_prefix = bool(normalizer.get(_ADD_PREFIX, True))
            model.merge_spaces = bool(normalizer.get(_MERGE_SPACES, True))
    if not model.tokens or len(model.tokens) > _MAX_PIECES:
        raise ValueError(f"it has {len(model.tokens)} pieces")
    if not 0 <= model.unknown < len(model.tokens):
        raise ValueError(f"its unknown token is {model.unknown} of {len(model.tokens)}")
    return model


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """(field number, value) of a message; values are integers, or bytes for strings, messages and 32-bit numbers."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"a field of wire type {kind}")
        if at + size > len(data):
            raise ValueError("a field is longer than the file")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number of more than ten bytes")


def _message(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where bytes must be")
    return value


def _integer(value: int | bytes) -> int:
    """A 32-bit integer; negative ones are stored as 64-bit two's complement."""
    if isinstance(value, bytes):
        raise ValueError("bytes where a number must be")
    return value - (1 << 64) if value >= 1 << 63 else value
