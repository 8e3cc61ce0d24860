"""Writing GGUF: what it refuses, and that a failure leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import F32, I16, I64, U8, U32, File, pair

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError
from heron.quant.formats import FORMATS


def test_a_changed_value_keeps_its_type_if_it_fits(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(
        File(pairs=[pair("u8", U8, 1), pair("i16", I16, 1), pair("f32", F32, 1.0), pair("u32", U32, 1), pair("i64", I64, 1)]).bytes()
    )
    metadata = Checkpoint(path).metadata
    metadata |= {"u8": 7, "i16": 70000, "f32": 3, "u32": 0.5, "i64": True}
    write_gguf(path, metadata, {})
    types = Checkpoint(path).metadata.types
    assert [types[k].name for k in ("u8", "i16", "f32", "u32", "i64")] == ["UINT8", "UINT32", "FLOAT32", "FLOAT32", "BOOL"]


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ({"x": {}}, {}, "metadata 'x': GGUF cannot hold a dict"),
        ({"x": None}, {}, "cannot hold a NoneType"),
        ({"x": 1 << 70}, {}, "does not fit"),
        ({"x": [1, "a"]}, {}, "of one type"),
        ({"x": [[1]]}, {}, "of one type|dimensions"),
        ({"x": np.zeros((2, 2))}, {}, "2 dimensions"),
        ({"x": np.zeros(2, np.complex64)}, {}, "no arrays of complex64"),
        ({"general.alignment": 3}, {}, "general.alignment is 3"),
        ({}, {"t": np.zeros((2, 0), np.float32)}, "none of them 0"),
        ({}, {"t": np.zeros((1,) * 5, np.float32)}, "at most 4 dimensions"),
        ({}, {"t": np.zeros(2, np.complex64)}, "dtype complex64"),
    ],
)
def test_what_gguf_cannot_hold_is_refused_and_leaves_no_file(metadata: dict, tensors: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=message):
        write_gguf(tmp_path / "model.gguf", metadata, tensors)
    assert not list(tmp_path.iterdir())


class Failing(Tensor):
    """A tensor whose second half cannot be read."""

    shape, format = (1 << 13, 1 << 10), FORMATS["F32"]

    def rows(self, start: int = 0, stop: int | None = None) -> np.ndarray:
        if start:
            raise OSError("the disk is gone")
        return np.zeros(((stop or self.n_rows) - start, self.row_bytes), np.uint8)


def test_writing_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(File().bytes())
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_gguf(path, {"general.architecture": "llama"}, {"t": Failing()})
    assert path.read_bytes() == File().bytes()
    assert os.listdir(tmp_path) == ["model.gguf"]
    with pytest.raises(CheckpointError, match="cannot be written"):
        write_gguf(tmp_path / "absent" / "model.gguf", {}, {})


def test_a_file_can_be_written_over_while_it_is_open(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(File().bytes())
    checkpoint = Checkpoint(path)
    write_gguf(path, checkpoint.metadata, checkpoint.tensors)
    assert path.read_bytes() == File().bytes()
