"""A checkpoint as a GGUF file holds it: of a HF folder, names, keys and layout, the tokenizer, and a format for each tensor."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from heron.checkpoint.checkpoint import Checkpoint, locate
from heron.checkpoint.gguf_writer import write_shards
from heron.checkpoint.metadata import Metadata, ValueType
from heron.checkpoint.pairing import materialize
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import InOrder
from heron.convert.place import check_place, shared_out
from heron.convert.quantized import Quantized, Watched
from heron.convert.vocabulary import vocabulary
from heron.errors import RequestError
from heron.quant.formats import FORMATS, Format

#: The formats that a model can be asked to be in.
DTYPES = {"auto": None, "f32": FORMATS["F32"], "f16": FORMATS["F16"], "bf16": FORMATS["BF16"]}

#: Matrices that are always F32: small, and read by programs that have no other way to. Vectors and norms are so too.
_EXACT = re.compile(r"(position_embd|token_types|.*\.(ssm_conv1d|shortconv\.conv|ffn_gate_inp|ffn_gate_inp_shexp|\w+_norm))\.weight")

#: The format that most of a file is in -> ``general.file_type``.
_FILE_TYPES = {"F32": 0, "F16": 1, "Q4_0": 2, "Q4_1": 3, "Q8_0": 7, "BF16": 32, "MXFP4": 38, "NVFP4": 39}
_GUESSED = 1024

#: The version of GGUF's block layouts that is written.
QUANTIZATION_VERSION = 2


def as_gguf(checkpoint: Checkpoint, dtype: str = "auto") -> tuple[Metadata, dict[str, Tensor]]:
    """Metadata and tensors of the GGUF file; tensors are lazy.

    Matrices are written as ``dtype``; "auto" keeps each one's format, and decodes to BF16 what GGUF has no format for. A GGUF file stays
    as it is but for that. Raises RequestError for another dtype, TokenizerError and UnsupportedError as `vocabulary`.
    """
    if dtype not in DTYPES:
        raise RequestError(f"the dtype {dtype!r} is unknown; it can be {', '.join(DTYPES)}", param="dtype")
    metadata = Metadata(checkpoint.metadata, where=checkpoint.metadata.where)
    if checkpoint.source == "gguf" and dtype == "auto":
        return metadata, dict(checkpoint.tensors)
    tensors = {name: _stored(name, tensor, DTYPES[dtype]) for name, tensor in checkpoint.tensors.items()}
    if checkpoint.source == "hf":
        metadata["general.type"] = "model"
        rows = checkpoint.tensors["token_embd.weight"].shape[0] if "token_embd.weight" in tensors else 0
        metadata |= vocabulary(locate(checkpoint.path), rows)
    metadata.set("general.file_type", _file_type(tensors), ValueType.UINT32)
    metadata.set("general.quantization_version", QUANTIZATION_VERSION, ValueType.UINT32)
    return metadata, tensors


def _stored(name: str, tensor: Tensor, wanted: Format | None) -> Tensor:
    """The tensor in GGUF's order of rows and columns, and in its format."""
    tensor = materialize(tensor)
    kept = tensor.format.in_gguf and tensor.column_order is None
    exact = tensor.ndim <= 1 or not name.endswith(".weight") or _EXACT.fullmatch(name)
    if exact:
        format = FORMATS["F32"]
    elif wanted is None:
        format = FORMATS["F32"] if tensor.format.name == "F64" else tensor.format if kept else FORMATS["BF16"]
    else:
        format = wanted
    return Quantized(name, tensor if tensor.column_order is None else InOrder(tensor), format)


def _file_type(tensors: dict[str, Tensor]) -> int:
    sizes: Counter[str] = Counter()
    for name, tensor in tensors.items():
        if tensor.ndim > 1 and name.endswith(".weight"):
            sizes[tensor.format.name] += tensor.size
    return _FILE_TYPES.get(sizes.most_common(1)[0][0], _GUESSED) if sizes else 0


def write_as_gguf(
    checkpoint: Checkpoint,
    path: Path,
    *,
    dtype: str = "auto",
    split_max_size: int | None = None,
    progress: Callable[[int], None] = lambda elements: None,
) -> list[Path]:
    """Write the GGUF file, or files of at most ``split_max_size`` bytes of tensors each; return them.

    Tensors are read and written in pieces, so that memory does not grow with the model. ``progress`` is told of elements as they are done.
    Files appear under their names when all are complete. Raises CheckpointError as `check_place`.
    """
    metadata, tensors = as_gguf(checkpoint, dtype)
    check_place(path, sum(tensor.nbytes for tensor in tensors.values()), checkpoint)
    watched: dict[str, Tensor] = {name: Watched(tensor, progress) for name, tensor in tensors.items()}
    return write_shards(path, metadata, shared_out(watched, split_max_size))
