"""A model on disk: metadata and tensors under GGUF's names, whatever kind of file they came from."""

from __future__ import annotations

import re
import stat
from pathlib import Path
from types import TracebackType

from heron.checkpoint.gguf import read_gguf
from heron.checkpoint.hf import open_folder
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError


class Checkpoint:
    """An opened model file or folder. Files are mapped, and nothing is read before it is asked for.

    path          what was opened
    source        "gguf", or "hf" for a folder of config.json and safetensors
    metadata      GGUF keys; a dict with type-checked getters
    tensors       canonical GGUF name -> Tensor
    architecture  GGUF's name of the architecture
    files         the files that the tensors are in
    quantization  how a folder's library quantized it, for people; "" if it did not
    """

    path: Path
    source: str
    metadata: Metadata
    tensors: dict[str, Tensor]
    architecture: str
    files: list[Path]
    quantization: str

    def __init__(self, path: str | Path, *, mmap: bool = True) -> None:
        """Open a GGUF file (any shard of a split one) or a folder that holds a model.

        Without ``mmap`` the files' heads are mapped while they are checked, and tensors are read when they are asked for.
        Raises CheckpointError when it is missing or damaged, UnsupportedError when Heron cannot read its kind.
        """
        self.path = Path(path)
        found = locate(self.path)
        self.source = "hf" if found.is_dir() else "gguf"
        opened = open_folder(found, mmap) if found.is_dir() else (*read_gguf(found, mmap), "")
        self.metadata, self.tensors, self.files, self.quantization = opened
        self.architecture = self.metadata.text("general.architecture")

    def close(self) -> None:
        """Let go of the files. Arrays that were taken from them stay valid, and keep their file mapped."""
        self.tensors = {}

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {self.architecture}, {len(self.tensors)} tensors)"


def locate(path: Path) -> Path:
    """The GGUF file or HF folder that `path` means: itself, the one GGUF model in a folder, or a safetensors file's folder.

    Raises CheckpointError when there is none, or more than one.
    """
    try:
        kind = path.stat().st_mode
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise CheckpointError(f"{path!s:.200}: no such file or folder ({error.__class__.__name__}); check the path") from None
    if stat.S_ISREG(kind):
        return path.parent if path.suffix == ".safetensors" else path
    if not stat.S_ISDIR(kind):
        raise CheckpointError(f"{path}: neither a file nor a folder; name a GGUF file or a model's folder")
    files = sorted(path.glob("*.gguf"))
    if (path / "config.json").is_file() or not files:
        return path
    first = [f for f in files if not re.search(r"-\d{5}-of-\d{5}$", f.stem) or "-00001-of-" in f.stem]
    if len(first) > 1:
        raise CheckpointError(f"{path}: {len(first)} models are in this folder ({first[0].name}, {first[1].name}, ...); name one of them")
    return (first or files)[0]
