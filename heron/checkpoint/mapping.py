"""A file's bytes in memory without reading them: the operating system brings in what is touched."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.errors import CheckpointError


def map_file(path: Path) -> NDArray[np.uint8]:
    """The file as a read-only array. The mapping lives as long as an array made from it does.

    Raises CheckpointError when the file cannot be opened or is empty.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be opened ({error.strerror or error}); check the path and its permissions") from None
    except ValueError:  # of mmap, for a file without a byte
        raise CheckpointError(f"{path}: the file is empty; download or convert it again") from None
    return np.frombuffer(mapped, np.uint8)
