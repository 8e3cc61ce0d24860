"""GGUF files as metadata and tensors: one file, or the shards that one was split into."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from heron.checkpoint.gguf_header import Header, parse_header
from heron.checkpoint.mapping import MappedFile, ReadFile, let_go, map_file
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError

# The names that gguf-split gives: the number of the shard and of all, from 1.
_SHARD_NAME = re.compile(r"(?P<stem>.*)-(?P<number>\d{5})-of-(?P<count>\d{5})\.gguf", re.DOTALL)

_TOGETHER = "the shards are of different models or splits: download them again together"


def read_gguf(path: Path, mapped: bool = True) -> tuple[Metadata, dict[str, Tensor], list[Path]]:
    """Open a GGUF file; of a split one, any shard may be named and all are opened: (metadata, tensors, files).

    Metadata are those of the first shard, without the `split.*` keys of a split file. Tensors are `mapped`, or read
    when they are asked for.
    Raises CheckpointError for a damaged file and for missing, swapped or mixed shards.
    """
    header, tensors = _open(path, mapped)
    count = header.metadata.integer("split.count", 1)
    if count <= 1 and "split.no" not in header.metadata:
        return header.metadata, tensors, [path]
    return _read_shards(path, count, mapped)


def shards_of(files: Sequence[Path]) -> list[list[str]]:
    """The names of the tensors in each of the files."""
    return [list(parse_header(map_file(path), str(path)).tensors) for path in files]


def _open(path: Path, mapped: bool) -> tuple[Header, dict[str, Tensor]]:
    data = map_file(path)
    header = parse_header(data, str(path))
    let_go(data, min(header.data_offset, len(data)))
    place = MappedFile(data) if mapped else ReadFile(path)
    tensors: dict[str, Tensor] = {
        t.name: place.tensor(t.offset, t.offset + t.nbytes, t.shape, t.format, swap=header.big_endian) for t in header.tensors.values()
    }
    return header, tensors


def _read_shards(path: Path, count: int, mapped: bool) -> tuple[Metadata, dict[str, Tensor], list[Path]]:
    paths = _shard_paths(path, count)
    metadata = Metadata()
    tensors: dict[str, Tensor] = {}
    for number, shard in enumerate(paths):
        header, part = _open(shard, mapped)
        _check_shard(header.metadata, number, count)
        if number == 0:
            metadata = header.metadata
        _check_same_model(metadata, header.metadata)
        for name, tensor in part.items():
            if name in tensors:
                raise CheckpointError(f"{shard}: the tensor {name!r} is in an earlier shard too; {_TOGETHER}")
            tensors[name] = tensor
    total = metadata.integer("split.tensors.count", len(tensors))
    if total != len(tensors):
        raise CheckpointError(f"{paths[0]}: the shards should hold {total} tensors, but hold {len(tensors)}; {_TOGETHER}")
    for key in [k for k in metadata if k.startswith("split.")]:
        del metadata[key]
    return metadata, tensors, paths


def _shard_paths(path: Path, count: int) -> list[Path]:
    match = _SHARD_NAME.fullmatch(path.name)
    if match is None or int(match["count"]) != count:
        raise CheckpointError(
            f"{path}: this is one of {count} shards, but its name does not say which; shards are named NAME-00001-of-{count:05}.gguf"
        )
    paths = [path.with_name(f"{match['stem']}-{number:05}-of-{count:05}.gguf") for number in range(1, count + 1)]
    missing = [p.name for p in paths if not p.is_file()]
    if missing:
        names = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise CheckpointError(f"{path}: {len(missing)} of {count} shards are missing ({names}); download them into the same folder")
    return paths


def _check_shard(metadata: Metadata, number: int, count: int) -> None:
    """The shard must be the one that its name says it is, of as many as the others say."""
    stored = metadata.integer("split.no")
    if stored != number:
        raise CheckpointError(
            f"{metadata.where}: the name says shard {number + 1}, but the file holds shard {stored + 1}; "
            "give the shards the names under which they were published"
        )
    if metadata.integer("split.count") != count:
        raise CheckpointError(f"{metadata.where}: a shard of {metadata['split.count']} among shards of {count}; {_TOGETHER}")


def _check_same_model(first: Metadata, other: Metadata) -> None:
    """What two shards both say of the model must be the same."""
    for key in ("general.architecture", "general.name", "split.tensors.count"):
        if key in other and other[key] != first.get(key):
            raise CheckpointError(f"{other.where}: {key} is {other[key]!r}, but {first.get(key)!r} in the first shard; {_TOGETHER}")
