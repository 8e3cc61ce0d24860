"""Reading and writing GGUF, held to gguf-py in both directions."""

from __future__ import annotations

import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf_bytes import ARRAY, BOOL, F32, F64, I8, I16, I32, I64, STRING, U8, U16, U32, U64, File, array, pair, tensor

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

SCALARS = {
    "u8": (U8, 255),
    "i8": (I8, -128),
    "u16": (U16, 65535),
    "i16": (I16, -32768),
    "u32": (U32, 4294967295),
    "i32": (I32, -5),
    "u64": (U64, (1 << 64) - 1),
    "i64": (I64, -(1 << 63)),
    "f32": (F32, 0.1),
    "f64": (F64, 0.1),
    "yes": (BOOL, True),
    "no": (BOOL, False),
    "text": (STRING, "naïve \u2581 \U0001f9a9"),
    "empty": (STRING, ""),
}
ARRAYS = {f"array.{key}": (kind, [value, value] if kind != BOOL else [True, False]) for key, (kind, value) in SCALARS.items()} | {
    "array.none": (F32, []),
    "array.no strings": (STRING, []),
}


def all_kinds(order: str = "<") -> list[bytes]:
    scalars = [pair(key, kind, value, order) for key, (kind, value) in SCALARS.items()]
    return scalars + [pair(key, ARRAY, array(kind, items, order), order) for key, (kind, items) in ARRAYS.items()]


def equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.tobytes() == b.tobytes()
    return type(a) is type(b) and a == b


def assert_same(a: Checkpoint, b: Checkpoint) -> None:
    assert list(a.metadata) == list(b.metadata)
    assert a.metadata.types == b.metadata.types
    for key in a.metadata:
        assert equal(a.metadata[key], b.metadata[key]), key
    assert list(a.tensors) == list(b.tensors)
    for name, t in a.tensors.items():
        u = b.tensors[name]
        assert (t.shape, t.format) == (u.shape, u.format)
        np.testing.assert_array_equal(t.rows(), u.rows())


def assert_gguf_py_agrees(path: Path, checkpoint: Checkpoint) -> None:
    """gguf-py reads the same keys, types, values and tensors from the file."""
    reader = gguf.GGUFReader(path)
    fields = {key: f for key, f in reader.fields.items() if not key.startswith("GGUF.")}
    assert list(fields) == list(checkpoint.metadata)
    for key, field in fields.items():
        ours = checkpoint.metadata[key]
        assert (ours.tolist() if isinstance(ours, np.ndarray) else ours) == field.contents(), key
        if key in checkpoint.metadata.types:
            assert int(field.types[0]) == checkpoint.metadata.types[key]
    assert [t.name for t in reader.tensors] == list(checkpoint.tensors)
    for t in reader.tensors:
        mine = checkpoint.tensors[t.name]
        assert (tuple(int(n) for n in t.shape[::-1]), int(t.tensor_type)) == (mine.shape, mine.format.id)
        assert np.ascontiguousarray(t.data).tobytes() == np.ascontiguousarray(mine.rows()).tobytes()


def test_every_kind_of_value_survives(tmp_path: Path) -> None:
    first, second = tmp_path / "first.gguf", tmp_path / "second.gguf"
    first.write_bytes(File(pairs=all_kinds()).bytes())
    a = Checkpoint(first)
    for key, (kind, value) in SCALARS.items():
        expected = np.float32(value).item() if kind == F32 else value
        assert equal(a.metadata[key], expected), key
    assert a.metadata["array.text"] == ["naïve \u2581 \U0001f9a9"] * 2
    assert a.metadata["array.u64"].dtype == np.uint64
    write_gguf(second, a.metadata, a.tensors)
    assert_same(a, Checkpoint(second))
    assert second.read_bytes() == first.read_bytes()


def test_gguf_py_reads_what_heron_writes(tmp_path: Path) -> None:
    path = tmp_path / "ours.gguf"
    rng = np.random.default_rng(0)
    tensors = {
        "f32": rng.standard_normal((3, 5)).astype(np.float32),
        "f16": rng.standard_normal((2, 3, 8)).astype(np.float16),
        "scalar": np.array(2.5, np.float32),
        "i32": np.arange(7, dtype=np.int32),
    }
    plain = {
        "general.architecture": "llama",
        "n": 7,
        "below": -7,
        "wide": 1 << 40,
        "x": 0.5,
        "on": True,
        "words": ["a", ""],
        "ints": [1, -2],
    }
    write_gguf(path, plain | {"floats": [0.5, 1.0], "typed": np.uint8(3), "arrays": np.arange(4, dtype=np.uint16)}, tensors)
    checkpoint = Checkpoint(path)
    kinds = {key: checkpoint.metadata.types[key].name for key in ("n", "below", "wide", "x", "on", "typed")}
    assert kinds == {"n": "UINT32", "below": "INT32", "wide": "UINT64", "x": "FLOAT32", "on": "BOOL", "typed": "UINT8"}
    for name, values in tensors.items():
        np.testing.assert_array_equal(checkpoint.tensors[name].numpy(), values.astype(np.float32))
        assert checkpoint.tensors[name].shape == values.shape
    del tensors["scalar"]  # gguf-py cannot read a tensor without dimensions
    write_gguf(path, checkpoint.metadata, {name: checkpoint.tensors[name] for name in tensors})
    assert_gguf_py_agrees(path, Checkpoint(path))


def test_heron_reads_what_gguf_py_writes(tmp_path: Path) -> None:
    path = tmp_path / "theirs.gguf"
    writer = gguf.GGUFWriter(path, "qwen2")
    writer.add_custom_alignment(64)
    writer.add_array("tokenizer.ggml.tokens", ["a", "b\u0120"])
    writer.add_array("tokenizer.ggml.scores", [0.5, -1.5])
    writer.add_key_value("q", 7, gguf.GGUFValueType.UINT16)
    rng = np.random.default_rng(1)
    for kind in (gguf.GGMLQuantizationType.Q4_0, gguf.GGMLQuantizationType.Q8_0, gguf.GGMLQuantizationType.BF16):
        writer.add_tensor(f"{kind.name}.weight", gguf.quants.quantize(rng.standard_normal((5, 64), dtype=np.float32), kind), raw_dtype=kind)
    writer.add_tensor("norm", rng.standard_normal(3, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    checkpoint = Checkpoint(path)
    assert checkpoint.architecture == "qwen2"
    assert_gguf_py_agrees(path, checkpoint)


@pytest.mark.parametrize("version", [2, 3])
@pytest.mark.parametrize("order", ["<", ">"])
def test_versions_and_byte_orders_read_the_same(version: int, order: str, tmp_path: Path) -> None:
    """Tensors of a big-endian file have the fields of their blocks swapped, not the quants between them."""
    rng = np.random.default_rng(2)
    names = ("F32", "F16", "BF16", "Q4_0", "Q5_0", "Q8_0")
    stored = {name: quantize(FORMATS[name], rng.standard_normal((3, 64), dtype=np.float32)) for name in names if name != "Q5_0"}
    stored["Q5_0"] = gguf.quants.quantize(rng.standard_normal((3, 64), dtype=np.float32), gguf.GGMLQuantizationType.Q5_0)
    infos, data = [], b""
    for name in names:
        infos.append(tensor(name, (64, 3), FORMATS[name].id, len(data), order))
        raw = stored[name] if order == "<" else FORMATS[name].swapped(stored[name])
        data += raw.tobytes() + bytes(-raw.size % 32)
    path = tmp_path / "model.gguf"
    path.write_bytes(File(version=version, order=order, pairs=all_kinds(order), tensors=infos, data=data).bytes())
    checkpoint = Checkpoint(path)
    for name in names:
        np.testing.assert_array_equal(checkpoint.tensors[name].rows(), stored[name])
    for key, (kind, items) in ARRAYS.items():
        expected = [np.float32(v).item() if kind == F32 else v for v in items]
        assert list(checkpoint.metadata[key]) == expected
    assert checkpoint.metadata["u64"] == (1 << 64) - 1
    reader = gguf.GGUFReader(path)
    assert reader.get_field("i32").contents() == checkpoint.metadata["i32"]
    np.testing.assert_array_equal(reader.tensors[0].data, checkpoint.tensors["F32"].numpy())


def test_tensors_are_mapped_and_not_copied(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(File().bytes())
    with Checkpoint(path) as checkpoint:
        rows = checkpoint.tensors["a"].rows(1, 3)
        assert not rows.flags.owndata
        assert not rows.flags.writeable
        np.testing.assert_array_equal(rows.ravel(), np.arange(16, 48))
    assert not checkpoint.tensors
    np.testing.assert_array_equal(rows.ravel(), np.arange(16, 48))  # what was taken outlives the checkpoint


# Files found in the wild


def test_shared_files_survive(shared: Path, tmp_path: Path) -> None:
    files = [
        *(shared / "data/stories").glob("*.gguf"),
        *(shared / "data/quants").glob("*.gguf"),
        shared / "data/vocabs/ggml-vocab-bert-bge.gguf",
    ]
    assert len(files) > 30
    for file in files:
        first = Checkpoint(file)
        write_gguf(tmp_path / "again.gguf", first.metadata, first.tensors)
        again = Checkpoint(tmp_path / "again.gguf")
        assert_same(first, again)
    assert_gguf_py_agrees(tmp_path / "again.gguf", again)


def test_padding_ids_of_2_to_the_32_minus_1(shared: Path) -> None:
    metadata = Checkpoint(shared / "data/stories/stories260Ktok512.gguf").metadata
    assert metadata.integer("tokenizer.ggml.padding_token_id") == 4294967295


def test_a_vocabulary_of_128k_opens_in_half_a_second(shared: Path) -> None:
    def seconds() -> float:
        start = time.process_time()
        checkpoint = Checkpoint(shared / "data/vocabs/ggml-vocab-llama-bpe.gguf")
        assert len(checkpoint.metadata.strings("tokenizer.ggml.tokens")) == 128256
        return time.process_time() - start

    assert min(seconds() for _ in range(3)) < 0.5
