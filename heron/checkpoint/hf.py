"""A HF folder shown as if it were a GGUF file: config.json becomes metadata, tensors get GGUF's names and layout.

A family registers an HFMapping for each `model_type`: how its configuration becomes metadata, which names gguf-py's
tensor map does not know, and how its layout differs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from heron.checkpoint.hf_config import common_metadata, rope_tensors, text_config
from heron.checkpoint.hf_names import NameMap
from heron.checkpoint.json_file import read_object
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.methods import METHODS, assemble, describe, find_quantization
from heron.checkpoint.safetensors import read_folder
from heron.checkpoint.sentence import read_sentence_model
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.transforms import Transform
from heron.checkpoint.views import Const
from heron.errors import CheckpointError, UnsupportedError
from heron.hub.cache import called

__all__ = ["MAPPINGS", "HFMapping", "common_metadata", "open_folder", "register", "text_config"]


@dataclass(frozen=True)
class HFMapping:
    """How a `model_type` becomes GGUF.

    architecture  GGUF's name of it
    metadata      config.json -> GGUF keys; those without "general." or "tokenizer." get "{architecture}." before them
    renames       (regex of the whole HF name, replacement), tried before gguf-py's tensor map
    transforms    layout differences, applied in this order
    prefix        regex of what HF names begin with where the model was saved with a head on top
    ignore        regexes (search) of HF tensors that the model does not need
    unused        config.json -> more of them, where it tells
    constants     config.json -> tensors that GGUF files have and HF folders compute (name -> values)
    quantized     quantization that the transforms read -> regexes (search) of the HF tensors of bytes that hold its codes
    """

    architecture: str
    metadata: Callable[[Metadata], dict[str, Any]] = common_metadata
    renames: tuple[tuple[str, str], ...] = ()
    transforms: tuple[Transform, ...] = ()
    prefix: str = ""
    ignore: tuple[str, ...] = ()
    unused: Callable[[Metadata], tuple[str, ...]] = lambda config: ()
    constants: Callable[[Metadata], Mapping[str, ArrayLike]] = rope_tensors
    quantized: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


MAPPINGS: dict[str, HFMapping] = {}


def register(model_type: str, mapping: HFMapping) -> None:
    """Let folders whose config.json has this `model_type` be opened."""
    MAPPINGS[model_type] = mapping


def open_folder(folder: Path, mapped: bool = True) -> tuple[Metadata, dict[str, Tensor], list[Path], str]:
    """Metadata and tensors of a HF folder, as a GGUF file of the same model would have them; its weights' files; how it is quantized.

    Files are `mapped`, or read when tensors are asked for.

    Raises CheckpointError for a damaged or incomplete folder and for tensors that the family does not know,
    UnsupportedError for a `model_type` that no family has registered, and for quantizations that cannot be read.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise CheckpointError(f"{folder}: no config.json; this is not a model's folder, or its download is not complete")
    config = Metadata(read_object(path), where=str(path))
    model_type = config.text("model_type")
    mapping = MAPPINGS.get(model_type)
    if mapping is None:
        raise UnsupportedError(f"{path}: model_type {model_type!r} is not supported; known are {', '.join(sorted(MAPPINGS)) or 'none'}")
    quantization = _quantization(config, mapping, folder)
    config = text_config(config)
    metadata = _metadata(config, mapping, called(folder))
    if (pooling := read_sentence_model(folder).pooling_type) is not None:
        metadata[f"{mapping.architecture}.pooling_type"] = pooling
    renames = mapping.renames + sum((t.renames for t in mapping.transforms), ())
    names = NameMap(mapping.architecture, renames, mapping.ignore + mapping.unused(config), mapping.prefix)
    stored, files = read_folder(folder, lambda name: not names.ignored(name), _packed(quantization, mapping), mapped)
    if quantization is not None and quantization[0] in METHODS:
        stored = assemble(stored, *quantization, str(folder))
    tensors = _named(stored, names, folder)
    tensors |= {name: Const(values, name) for name, values in mapping.constants(config).items()}
    for transform in mapping.transforms:
        tensors = transform.to_gguf(tensors, metadata)
    return metadata, _tied(tensors, config), files, "" if quantization is None else describe(*quantization)


def _quantization(config: Metadata, mapping: HFMapping, folder: Path) -> tuple[str, Metadata] | None:
    """The quantization's method and configuration. Raises UnsupportedError for one that cannot be read."""
    own = config.get("quantization_config")
    if isinstance(own, dict) and own.get("quant_method") in mapping.quantized:
        return own["quant_method"], Metadata(own, where=config.where)
    return find_quantization(config, folder)


def _packed(quantization: tuple[str, Metadata] | None, mapping: HFMapping) -> Callable[[str], bool]:
    """Which tensors hold a quantization's codes."""
    if quantization is None:
        return lambda name: False
    patterns = mapping.quantized.get(quantization[0], ("",))
    return lambda name: any(re.search(pattern, name) for pattern in patterns)


def _metadata(config: Metadata, mapping: HFMapping, name: str) -> Metadata:
    metadata = Metadata({"general.architecture": mapping.architecture, "general.name": name}, where=config.where)
    for key, value in mapping.metadata(config).items():
        metadata[key if key.startswith(("general.", "tokenizer.")) else f"{mapping.architecture}.{key}"] = value
    return metadata


def _named(stored: dict[str, Tensor], names: NameMap, folder: Path) -> dict[str, Tensor]:
    """The folder's tensors under the names that the map gives them."""
    origin: dict[str, str] = {}
    unknown = []
    for name in stored:
        gguf_name = _of_scale(name, names) if name.endswith(".scale") else names(name)
        if gguf_name is None:
            unknown.append(name)
        elif gguf_name in origin:
            raise CheckpointError(f"{folder}: tensors {origin[gguf_name]!r} and {name!r} are both {gguf_name}; the folder mixes two models")
        else:
            origin[gguf_name] = name
    if unknown:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise CheckpointError(
            f"{folder}: the {names.architecture} family does not know the tensors {', '.join(unknown[:3])}{more}; "
            "the folder is of a variant that is not supported"
        )
    return {gguf_name: stored[name] for gguf_name, name in origin.items()}


def _of_scale(name: str, names: NameMap) -> str | None:
    """The name of a matrix's factor (NVFP4), which is beside the matrix's."""
    found = names(name) or names(f"{name.removesuffix('scale')}weight")
    return found and re.sub(r"weight$", "scale", found)


def _tied(tensors: dict[str, Tensor], config: Metadata) -> dict[str, Tensor]:
    """GGUF files of models with tied embeddings have token_embd only; HF folders may store either, or both."""
    if "token_embd.weight" not in tensors and "output.weight" in tensors:
        tensors["token_embd.weight"] = tensors["output.weight"]
    if config.flag("tie_word_embeddings", False) and "token_embd.weight" in tensors:
        tensors.pop("output.weight", None)
    return tensors
