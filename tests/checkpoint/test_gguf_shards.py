"""GGUF models that were split into several files: whole, missing, swapped and mixed."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.metadata import Metadata, ValueType
from heron.errors import CheckpointError


def write_shards(folder: Path, count: int = 3, **changes: object) -> list[Path]:
    """A model of `count` tensors, one a shard. `changes` are written over the split keys of the second shard."""
    paths = []
    for number in range(count):
        metadata = Metadata({"general.architecture": "llama", "llama.block_count": 1} if number == 0 else {})
        for key, value in {"split.no": number, "split.count": count, "split.tensors.count": count}.items():
            metadata.set(key, changes.get(key, value) if number == 1 else value, ValueType.INT32 if "tensors" in key else ValueType.UINT16)
        paths.append(folder / f"m-{number + 1:05}-of-{count:05}.gguf")
        write_gguf(paths[-1], metadata, {f"t{number}": np.full((2, 3), number, np.float32)})
    return paths


def test_any_shard_opens_all(tmp_path: Path) -> None:
    for path in write_shards(tmp_path):
        checkpoint = Checkpoint(path)
        assert list(checkpoint.tensors) == ["t0", "t1", "t2"]
        assert [t.numpy()[0, 0] for t in checkpoint.tensors.values()] == [0, 1, 2]
        assert list(checkpoint.metadata) == ["general.architecture", "llama.block_count"]
    assert list(Checkpoint(tmp_path).tensors) == ["t0", "t1", "t2"]


def test_a_missing_shard(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)
    paths[1].unlink()
    with pytest.raises(CheckpointError, match=r"1 of 3 shards are missing \(m-00002-of-00003.gguf\)"):
        Checkpoint(paths[0])


def test_swapped_shards(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)
    aside = paths[1].rename(tmp_path / "aside")
    paths[2].rename(paths[1])
    aside.rename(paths[2])
    with pytest.raises(CheckpointError, match="name says shard 2, but the file holds shard 3"):
        Checkpoint(paths[0])


def test_a_shard_of_another_split(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, **{"split.count": 4})
    with pytest.raises(CheckpointError, match="a shard of 4 among shards of 3"):
        Checkpoint(paths[0])


def test_shards_of_different_models(tmp_path: Path) -> None:
    paths = write_shards(tmp_path, **{"split.tensors.count": 9})
    with pytest.raises(CheckpointError, match=r"split\.tensors\.count is 9, but 3 in the first shard"):
        Checkpoint(paths[0])


def test_a_tensor_in_two_shards(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)
    metadata = Metadata({"split.no": 1, "split.count": 3, "split.tensors.count": 3})
    write_gguf(paths[1], metadata, {"t0": np.zeros((2, 3), np.float32)})
    with pytest.raises(CheckpointError, match="tensor 't0' is in an earlier shard too"):
        Checkpoint(paths[0])


def test_shards_with_too_few_tensors(tmp_path: Path) -> None:
    paths = write_shards(tmp_path)
    for path in paths:
        checkpoint = gguf.GGUFReader(path)
        metadata = Metadata({key: f.contents() for key, f in checkpoint.fields.items() if not key.startswith("GGUF.")})
        metadata["split.tensors.count"] = 5
        write_gguf(path, metadata, {t.name: np.array(t.data) for t in checkpoint.tensors})
    with pytest.raises(CheckpointError, match="should hold 5 tensors, but hold 3"):
        Checkpoint(paths[0])
