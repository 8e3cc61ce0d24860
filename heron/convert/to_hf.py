"""A GGUF file as a folder that transformers loads: config.json, safetensors, the tokenizer's files.

Layout notes of the family are undone in reverse order. What was quantized is decoded first: safetensors hold plain numbers here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.hf import MAPPINGS
from heron.checkpoint.hf_names import NameMap
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.safetensors_writer import write_safetensors_shards
from heron.checkpoint.tensor import Tensor
from heron.convert.config import config_of
from heron.convert.names import hf_name
from heron.convert.place import check_place, shared_out
from heron.convert.quantized import Quantized, Watched
from heron.convert.tokenizer_files import tokenizer_files
from heron.errors import CheckpointError, RequestError
from heron.quant.formats import FORMATS, Format
from heron.text.tokenizer import Tokenizer

DTYPES = {"f32": ("F32", "float32"), "f16": ("F16", "float16"), "bf16": ("BF16", "bfloat16")}

#: What GGUF files have and folders compute from their configuration.
_COMPUTED = re.compile(r"rope_(freqs|factors_long|factors_short)\.weight")

#: Tensors that lose their sense in 16 bits: states' decays and steps, and what decides between experts that are nearly as good.
_EXACT = re.compile(r"blk\.\d+\.(ssm_(a|d|dt\.bias)|exp_probs_b\.bias)")


def as_hf(checkpoint: Checkpoint, dtype: str = "auto") -> tuple[dict[str, Any], dict[str, Tensor]]:
    """config.json and the tensors under their names in a folder; tensors are lazy.

    All are of ``dtype``; "auto" is that of most of the file's numbers, and BF16 where they are quantized. Raises RequestError for another
    dtype, UnsupportedError for families and hyperparameters that folders cannot express.
    """
    format, word = _dtype(checkpoint, dtype)
    family, config = config_of(checkpoint.metadata, checkpoint.tensors)
    mapping = MAPPINGS[family.model_type]
    tensors = {name: _plain(name, tensor, format) for name, tensor in checkpoint.tensors.items() if not _COMPUTED.fullmatch(name)}
    for transform in reversed(mapping.transforms):
        tensors = transform.to_hf(tensors, checkpoint.metadata)
    renames = mapping.renames + sum((t.renames for t in mapping.transforms), ())
    names = NameMap(mapping.architecture, renames, mapping.ignore, mapping.prefix)
    made: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        kept = FORMATS["F32"] if _EXACT.fullmatch(name) else format
        made[hf_name(name, family.model_type, names)] = Quantized(name, tensor, kept)
    return {**config, "dtype": word}, made


def _dtype(checkpoint: Checkpoint, dtype: str) -> tuple[Format, str]:
    if dtype not in ("auto", *DTYPES):
        raise RequestError(f"the dtype {dtype!r} is unknown; it can be auto, {', '.join(DTYPES)}", param="dtype")
    if dtype == "auto":
        sizes = Counter[str]()
        for tensor in checkpoint.tensors.values():
            sizes[tensor.format.name] += tensor.size
        most = sizes.most_common(1)[0][0]
        dtype = next((ours for ours, (format, _) in DTYPES.items() if format == most), "bf16")
    name, word = DTYPES[dtype]
    return FORMATS[name], word


def _plain(name: str, tensor: Tensor, format: Format) -> Tensor:
    return tensor if tensor.format.plain else Quantized(name, tensor, format)


def write_as_hf(
    checkpoint: Checkpoint,
    folder: Path,
    *,
    dtype: str = "auto",
    max_shard_size: int | None = None,
    progress: Callable[[int], None] = lambda elements: None,
) -> list[Path]:
    """Write the folder, with safetensors files of at most ``max_shard_size`` bytes of tensors each; return these files.

    The folder appears under its name when it is complete. ``progress`` is told of elements as they are done. Raises CheckpointError
    where the folder is there already, the disk has too little space, or a file cannot be written.
    """
    if checkpoint.source == "hf":
        raise RequestError(f"{checkpoint.path} is a folder already; name a file that ends in .gguf")
    if folder.exists():
        raise CheckpointError(f"{folder} is there already; name a folder that is to be made")
    config, tensors = as_hf(checkpoint, dtype)
    check_place(folder, sum(tensor.nbytes for tensor in tensors.values()), checkpoint)
    texts = {"config.json": config, **generation_config(config, checkpoint.metadata)}
    files = {name: json.dumps(value, indent=2, ensure_ascii=False) + "\n" for name, value in texts.items()}
    files |= tokenizer_files(checkpoint.metadata)
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    try:
        partial.mkdir()
        for name, text in files.items():
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text(text, "utf-8")
        watched: dict[str, Tensor] = {name: Watched(tensor, progress) for name, tensor in tensors.items()}
        written = write_safetensors_shards(partial, shared_out(watched, max_shard_size))
        partial.rename(folder)
    except OSError as error:
        raise CheckpointError(
            f"{folder}: cannot be written ({error.strerror or error}); check the folder and the space on its disk"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return [folder / file.name for file in written]


def generation_config(config: dict[str, Any], metadata: Metadata) -> dict[str, dict[str, Any]]:
    """generation_config.json: the ids that begin, end and fill up texts."""
    said = {key: config[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if config.get(key) is not None}
    if "tokenizer.ggml.model" in metadata:
        tokenizer = Tokenizer.from_metadata(metadata)
        ends = sorted(tokenizer.eos_ids, key=lambda id: (id != tokenizer.eos, id))
        said |= {"eos_token_id": ends[0] if len(ends) == 1 else ends} if ends else {}
    return {"generation_config.json": said}
