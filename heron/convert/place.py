"""Where a converted model is written: the space that it needs there, and how its tensors are shared out among files."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError


def check_place(path: Path, nbytes: int, source: Checkpoint) -> None:
    """Raises CheckpointError where ``path`` is one of the source's files, its folder is none, or the disk has too little space."""
    if any(path.resolve() == file.resolve() for file in source.files):
        raise CheckpointError(f"{path} is the model to be converted itself; give the result another name")
    folder = path.absolute().parent
    if not folder.is_dir():
        raise CheckpointError(f"{folder} is no folder; make it first")
    if (free := shutil.disk_usage(folder).free) < nbytes:
        raise CheckpointError(f"{folder} has too little space: {nbytes / 2**30:.2f} GiB are needed and {free / 2**30:.2f} free")


def shared_out(tensors: Mapping[str, Tensor], limit: int | None) -> list[dict[str, Tensor]]:
    """The tensors in their order, in as few groups of at most ``limit`` bytes as that order allows; a larger one stands alone."""
    groups: list[dict[str, Tensor]] = [{}]
    filled = 0
    for name, tensor in tensors.items():
        if limit is not None and groups[-1] and filled + tensor.nbytes > limit:
            groups.append({})
            filled = 0
        groups[-1][name] = tensor
        filled += tensor.nbytes
    return groups
