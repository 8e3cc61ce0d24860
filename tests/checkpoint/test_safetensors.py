"""safetensors files and folders: held to the safetensors library, and hostile ones refused."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from heron.checkpoint.safetensors import read_folder, read_safetensors
from heron.errors import CheckpointError, HeronError, UnsupportedError

GOOD = {"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}, "b": {"dtype": "BF16", "shape": [4], "data_offsets": [24, 32]}}
DATA = bytes(range(32))


def raw(header: object = GOOD, data: bytes = DATA, length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def entry(**changes: object) -> dict:
    """The good header with another entry for tensor a."""
    return GOOD | {"a": {k: v for k, v in (GOOD["a"] | changes).items() if v is not None}}


MALFORMED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "empty"),
    "seven bytes": (bytes(7), "7 bytes are too few"),
    "header longer than the file": (raw(length=10**6), "byte 0: the header's length is 1000000"),
    "header of 2^64 - 1": (raw(length=(1 << 64) - 1), "byte 0: the header's length is 18446744073709551615"),
    "header one byte too long": (raw(GOOD, b"", len(json.dumps(GOOD)) + 1), "byte 0: the header's length"),
    "header is cut": (raw(length=30), "not JSON"),
    "header is not JSON": (raw(b"not json"), "header at byte 8: this is not JSON"),
    "header is not UTF-8": (raw(b'{"\xff": 1}'), "not JSON"),
    "header is a list": (raw([1, 2]), "a JSON list where an object must be"),
    "deep nesting": (raw(b'{"a":' + b"[" * 100_000), "not JSON"),
    "integer of 5000 digits": (raw(b'{"a": ' + b"9" * 5000 + b"}"), "not JSON"),
    "duplicate names": (raw(b'{"a": 1, "a": 2}'), "the name 'a' occurs twice"),
    "duplicate keys in an entry": (raw(b'{"a": {"dtype": "F32", "dtype": "F16"}}'), "the name 'dtype' occurs twice"),
    "an entry is a number": (raw(GOOD | {"a": 5}), "tensor 'a' has no dtype"),
    "no dtype": (raw(entry(dtype=None)), "tensor 'a' has no dtype"),
    "dtype is a number": (raw(entry(dtype=5)), "tensor 'a' has no dtype"),
    "dtype that there is not": (raw(entry(dtype="F31")), "'F31', which safetensors do not have"),
    "dtype of another size": (raw(entry(dtype="F16")), r"24 bytes, which do not make F16 of shape \[2, 3\]"),
    "no shape": (raw(entry(shape=None)), "no valid shape"),
    "shape with a float": (raw(entry(shape=[2.0, 3])), "no valid shape"),
    "shape with a boolean": (raw(entry(shape=[True, 6])), "no valid shape"),
    "negative dimensions": (raw(entry(shape=[-2, -3])), "no valid shape"),
    "huge dimension": (raw(entry(shape=[1 << 64])), "no valid shape"),
    "dimensions whose product is 2^64": (raw(entry(shape=[1 << 62, 4])), "do not make F32"),
    "a hundred dimensions": (raw(entry(shape=[1] * 100)), "no valid shape"),
    "shape with NaN": (raw(b'{"a": {"dtype": "F32", "shape": [NaN], "data_offsets": [0, 4]}}'), "no valid shape"),
    "no offsets": (raw(entry(data_offsets=None)), "no valid data_offsets"),
    "one offset": (raw(entry(data_offsets=[0])), "no valid data_offsets"),
    "negative offset": (raw(entry(data_offsets=[-24, 0])), "no valid data_offsets"),
    "offsets the other way round": (raw(entry(data_offsets=[24, 0])), "needs bytes 24 to 0"),
    "beyond the end": (raw(entry(data_offsets=[16, 40])), "needs bytes 16 to 40 of data that are 32 bytes"),
    "overlap": (raw(GOOD | {"b": GOOD["b"] | {"data_offsets": [20, 28]}}), "'a' and 'b' overlap"),
    "the same bytes twice": (raw(GOOD | {"c": GOOD["a"]}), "'a' and 'c' overlap"),
    "a hole": (raw(GOOD | {"b": GOOD["b"] | {"data_offsets": [26, 34]}}, bytes(34)), "bytes before 'b' belong to no tensor"),
    "bytes after the last tensor": (raw(data=bytes(33)), "1 bytes after the last tensor"),
    "an empty tensor": (raw(GOOD | {"c": {"dtype": "F32", "shape": [0], "data_offsets": [32, 32]}}), r"shape \[0\] is empty"),
    "truncated data": (raw(data=bytes(31)), "cut short"),
}  # fmt: skip


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(MALFORMED[name][0])
    with pytest.raises(CheckpointError) as caught:
        read_safetensors(path)
    assert str(path) in str(caught.value)
    assert re.search(MALFORMED[name][1], str(caught.value)), str(caught.value)


def test_truncation_at_every_byte(tmp_path: Path) -> None:
    whole = raw()
    path = tmp_path / "model.safetensors"
    path.write_bytes(whole)
    assert list(read_safetensors(path)) == ["a", "b"]
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError):
            read_safetensors(path)


def test_mutated_files(tmp_path: Path) -> None:
    rng = random.Random(0)
    path = tmp_path / "model.safetensors"
    opened = 0
    for _ in range(2000):
        mutated = bytearray(raw())
        for _ in range(rng.randint(1, 3)):
            mutated[rng.randrange(len(mutated))] = rng.choice([rng.randrange(256), 0, 0xFF, ord("9"), ord('"')])
        path.write_bytes(mutated)
        try:
            tensors = read_safetensors(path)
        except HeronError:
            continue
        opened += 1
        assert all(t.rows().nbytes == t.nbytes for t in tensors.values())
    assert 0 < opened < 2000


def test_dtypes_read_as_the_library_saved_them(tmp_path: Path) -> None:
    torch.manual_seed(0)
    saved = {
        "f32": torch.randn(3, 4),
        "f16": torch.randn(2, 3, 4).half(),
        "bf16": torch.randn(5).bfloat16(),
        "i64": torch.arange(3),
        "scalar": torch.tensor(2.5),
    }
    save_file(saved | {"mask": torch.ones(2, dtype=torch.bool)}, tmp_path / "model.safetensors")
    tensors = read_safetensors(tmp_path / "model.safetensors", wanted=lambda name: name != "mask")
    assert set(tensors) == set(saved)
    for name, t in saved.items():
        assert tensors[name].shape == tuple(t.shape)
        np.testing.assert_array_equal(tensors[name].numpy(), t.float().numpy())
    assert not tensors["f32"].rows().flags.owndata
    with pytest.raises(UnsupportedError, match="'mask' is of dtype BOOL"):
        read_safetensors(tmp_path / "model.safetensors")


# Folders


def shards(folder: Path) -> dict[str, str]:
    """Three tensors in two shards; the weight map."""
    save_file({"a": torch.zeros(2), "b": torch.ones(3)}, folder / "model-00001-of-00002.safetensors")
    save_file({"c": torch.full((4,), 2.0)}, folder / "model-00002-of-00002.safetensors")
    places = {name: f"model-0000{1 + (name == 'c')}-of-00002.safetensors" for name in "abc"}
    write_index(folder, {"weight_map": places})
    return places


def write_index(folder: Path, index: object) -> None:
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def test_shards(tmp_path: Path) -> None:
    shards(tmp_path)
    tensors, files = read_folder(tmp_path)
    assert {name: float(t.numpy()[0]) for name, t in tensors.items()} == {"a": 0, "b": 1, "c": 2}
    assert len(files) == 2


def test_a_missing_shard(tmp_path: Path) -> None:
    shards(tmp_path)
    (tmp_path / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError, match=r"1 of 2 shards are missing \(model-00002"):
        read_folder(tmp_path)


def test_swapped_shards(tmp_path: Path) -> None:
    shards(tmp_path)
    one, two, aside = (tmp_path / f"{n}.safetensors" for n in ("model-00001-of-00002", "model-00002-of-00002", "aside"))
    one.rename(aside)
    two.rename(one)
    aside.rename(two)
    with pytest.raises(CheckpointError, match="tensor 'a' should be in this shard, but is not"):
        read_folder(tmp_path)


@pytest.mark.parametrize("index", [{}, {"weight_map": {}}, {"weight_map": []}, {"weight_map": "x"}, [1]])
def test_an_index_that_is_none(index: object, tmp_path: Path) -> None:
    write_index(tmp_path, index)
    with pytest.raises(CheckpointError, match=r"no weight_map|a JSON list"):
        read_folder(tmp_path)


@pytest.mark.parametrize("file", ["../secret.safetensors", "/etc/passwd", "a/b.safetensors", "..\\x.safetensors", "x.bin", 7, ["x"], ""])
def test_an_index_cannot_reach_out_of_its_folder(file: object, tmp_path: Path) -> None:
    write_index(tmp_path, {"weight_map": {"a": file}})
    with pytest.raises(CheckpointError, match="no shard's name"):
        read_folder(tmp_path)


def test_folders_without_weights(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no \*\.safetensors file"):
        read_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UnsupportedError, match="pickled"):
        read_folder(tmp_path)
    for name in ("x", "y"):
        save_file({name: torch.zeros(1)}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match="2 safetensors files but no"):
        read_folder(tmp_path)
    (tmp_path / "y.safetensors").unlink()
    assert list(read_folder(tmp_path)[0]) == ["x"]
