"""A model on disk: metadata and tensors under GGUF's names, whatever kind of file they came from."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from heron.checkpoint.gguf import read_gguf
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
    """

    path: Path
    source: str
    metadata: Metadata
    tensors: dict[str, Tensor]
    architecture: str

    def __init__(self, path: str | Path) -> None:
        """Open a GGUF file (any shard of a split one) or a folder that holds a model.

        Raises CheckpointError when it is missing or damaged, UnsupportedError when Heron cannot read its kind.
        """
        self.path = Path(path)
        self.source = "gguf"
        self.metadata, self.tensors = read_gguf(self.path)
        self.architecture = self.metadata.text("general.architecture")

    def close(self) -> None:
        """Let go of the files. Arrays that were taken from them stay valid, and keep their file mapped."""
        self.tensors = {}

    def tensor(self, name: str) -> Tensor:
        """The tensor of that name. Raises CheckpointError when the file has none."""
        try:
            return self.tensors[name]
        except KeyError:
            raise CheckpointError(f"{self.path}: the tensor {name} is missing; the file is incomplete or of another architecture") from None

    def __enter__(self) -> Checkpoint:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Checkpoint({str(self.path)!r}, {self.architecture}, {len(self.tensors)} tensors)"
