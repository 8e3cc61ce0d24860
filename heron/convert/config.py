"""A GGUF file's metadata as the config.json of the same model, checked: the family's own mapping must make the same metadata of it."""

from __future__ import annotations

from typing import Any

import numpy as np

from heron.checkpoint.hf import MAPPINGS
from heron.checkpoint.hf_config import FLAGS, INTEGERS, NUMBERS
from heron.checkpoint.metadata import Metadata, describe
from heron.convert.families import Family, Tensors, family_of
from heron.convert.rope import rope_parameters
from heron.errors import UnsupportedError
from heron.text.gguf_vocabulary import KEY

_NAMES = {key: names[0] for key, names in (INTEGERS | NUMBERS | FLAGS).items()}

#: Keys that change nothing that a model computes, or only say again what others do.
_IDLE = ("vocab_size", "rope.scaling.finetuned", "rope.dimension_count_swa", "attention.causal", "rope.scaling.attn_factor")
_TOLERANCE = 1e-5  # relative, of numbers that went through float32


def config_of(metadata: Metadata, tensors: Tensors) -> tuple[Family, dict[str, Any]]:
    """The family and the configuration, without "dtype". ``tensors`` are GGUF's.

    Raises UnsupportedError for families that are not in the table, and where the configuration cannot say what keys of the file do.
    """
    arch = metadata.text("general.architecture")
    family = family_of(metadata, tensors)
    if family is None:
        raise UnsupportedError(f"{metadata.where}: models of architecture {arch!r} cannot be written as a folder yet; keep the GGUF file")
    values = Metadata({"architecture": arch, **_own(metadata, arch)}, where=metadata.where)
    config: dict[str, Any] = {"architectures": [family.class_name], "model_type": family.model_type}
    for key, value in values.items():
        name = family.keys.get(key, _NAMES.get(key))
        if name is not None and isinstance(value, (int, float)):
            config[name] = _plain(value)
    config["vocab_size"] = tensors["token_embd.weight"].shape[0]
    config |= {flag: name in tensors for flag, name in family.flags.items()}
    config |= {flag: name not in tensors for flag, name in {**family.lacks, "tie_word_embeddings": "output.weight"}.items()}
    config |= _windows(values, family)
    if family.rope:
        config |= rope_parameters(values, tensors, family)
    if values.get("dense_layers") is not None:
        config["mlp_only_layers"] = [layer for layer, dense in enumerate(values.flags("dense_layers")) if dense]
    config |= family.special(values)
    config |= {f"{name}_token_id": metadata.get(f"{KEY}{ours}_token_id") for name, ours in _IDS.items()}
    _check(values, config, family)
    return family, config


_IDS = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _own(metadata: Metadata, arch: str) -> dict[str, Any]:
    """The architecture's keys without it, one number for a list of equal ones."""
    own = {key.removeprefix(f"{arch}."): value for key, value in metadata.items() if key.startswith(f"{arch}.")}
    for key, value in own.items():
        if key in INTEGERS and isinstance(value, (list, np.ndarray)) and len(value) and len(set(np.asarray(value).tolist())) == 1:
            own[key] = int(value[0])
    return own


def _plain(value: Any) -> Any:
    """A float as it was written before it became float32."""
    return float(str(np.float32(value))) if isinstance(value, float) else value


def _windows(values: Metadata, family: Family) -> dict[str, Any]:
    window, layers = values.integer("attention.sliding_window", 0), values.integer("block_count")
    if not window:
        kinds = {"layer_types": ["full_attention"] * layers} if family.kinds else {}
        return {"sliding_window": None, "use_sliding_window": False, **kinds}
    said: dict[str, Any] = {"sliding_window": window, "use_sliding_window": True}
    pattern = values.get("attention.sliding_window_pattern")
    if pattern is None:
        return said
    if isinstance(pattern, int) and not isinstance(pattern, bool):
        local = [pattern == 0 or (layer + 1) % pattern != 0 for layer in range(layers)]
    else:
        local = values.flags("attention.sliding_window_pattern")
    return said | {"layer_types": ["sliding_attention" if each else "full_attention" for each in local]}


def _check(values: Metadata, config: dict[str, Any], family: Family) -> None:
    """Raises UnsupportedError where the family's mapping makes something else of the configuration."""
    made = MAPPINGS[family.model_type].metadata(Metadata(config, where="config.json"))
    wrong = [key for key, value in values.items() if key not in ("architecture", *_IDLE) and not _same(value, made.get(key))]
    if wrong:
        named = ", ".join(f"{key} ({describe(values[key])})" for key in wrong[:4])
        raise UnsupportedError(
            f"{values.where}: a configuration of {family.model_type!r} cannot say what these keys do: {named}; keep the file"
        )


def _same(value: Any, made: Any) -> bool:
    if made is None:
        return False
    if isinstance(value, (str, bool)):
        return bool(value == made)
    ours, theirs = np.asarray(value, np.float64), np.asarray(made, np.float64)
    return ours.shape == theirs.shape and bool(np.allclose(ours, theirs, rtol=_TOLERANCE, atol=0))
