"""Which files of a repository a model is made of. It is told by their names alone, on the hub as in the cache."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from heron.errors import HubError

#: Which quantization is taken where none is named: the first of these that there is.
PREFERRED: tuple[str, ...] = (
    "Q4_K_M",
    "UD-Q4_K_XL",
    "Q4_K_S",
    "Q4_0",
    "MXFP4",
    "MXFP4_MOE",
    "Q4_1",
    "IQ4_XS",
    "IQ4_NL",
    "Q5_K_M",
    "Q5_K_S",
    "Q5_0",
)
PREFERRED += ("Q5_1", "Q6_K", "Q8_0", "Q3_K_M", "Q3_K_L", "Q3_K_S", "IQ3_M", "Q2_K", "BF16", "F16", "F32")

_SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
_KIND = r"(?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)"
_QUANTIZATION = re.compile(rf"(?:^|[-._])({_KIND})(?=$|[-._])", re.IGNORECASE)
#: GGUF files that are no models by themselves: projectors of images and sound, importance matrices.
_NO_MODEL = re.compile(r"mmproj|imatrix", re.IGNORECASE)

#: What a safetensors folder needs beside its weights.
_BESIDE = {"config.json", "generation_config.json", "quantize_config.json", "hf_quant_config.json", "modules.json"}
_BESIDE |= {
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
}
_BESIDE |= {"chat_template.jinja", "chat_template.json"}
_BESIDE_TOO = re.compile(r"[^/]+\.model|sentence_[^/]*_config\.json|model\.safetensors\.index\.json|\d+_[^/]+/config\.json")
_WEIGHTS = re.compile(r"model(-\d{5}-of-\d{5})?\.safetensors")


@dataclass(frozen=True)
class Choice:
    """A model's files in its repository, and what is opened: the first file of a GGUF model, or "" for the folder."""

    files: tuple[str, ...]
    entry: str
    quantization: str | None = None


def is_quantization(text: str) -> bool:
    """Whether that is what quantizations are called: Q4_K_M, bf16."""
    return bool(re.fullmatch(_KIND, text, re.IGNORECASE))


def choices(paths: Iterable[str]) -> list[Choice]:
    """The models that are whole among a repository's files: each GGUF model, the preferred first, then that of the folder."""
    paths = sorted(paths)
    folder = _folder(paths)
    return _ggufs(paths) + ([folder] if folder else [])


def choose(paths: Iterable[str], wanted: str | None, where: str) -> Choice:
    """The model that is wanted: a quantization or a file by its name, or None for the preferred one.

    Raises HubError, with what there is, where there is no such model, or more than one.
    """
    paths = list(paths)
    chosen = select(paths, wanted)
    if len(chosen) == 1:
        return chosen[0]
    found = choices(paths)
    if not found:
        raise HubError(f"{where}: {_why_none(paths)}")
    if chosen:
        files = ", ".join(PurePosixPath(each.entry).name for each in chosen)
        raise HubError(f"{where} has {len(chosen)} models in {chosen[0].quantization}; name one of the files behind a colon: {files}")
    there = ", ".join(dict.fromkeys(each.quantization for each in found if each.quantization)) or "safetensors alone"
    raise HubError(f"{where} has no {wanted}; there is {there}")


def select(paths: Iterable[str], wanted: str | None) -> list[Choice]:
    """The models that a name means among these files; one, if all is well."""
    found = choices(paths)
    if wanted is None:
        return [each for each in found if each.quantization == found[0].quantization]
    return [each for each in found if each.entry and wanted.lower() in _names(each)]


def _names(choice: Choice) -> set[str]:
    """What a GGUF model may be called behind the colon, in lower case."""
    file = PurePosixPath(choice.entry).name.lower()
    return {(choice.quantization or "").lower(), file, file.removesuffix(".gguf"), _SHARD.sub("", file.removesuffix(".gguf"))}


def _ggufs(paths: list[str]) -> list[Choice]:
    groups: dict[str, list[str]] = {}
    for path in paths:
        if path.lower().endswith(".gguf") and not _NO_MODEL.search(PurePosixPath(path).name):
            groups.setdefault(_SHARD.sub("", path[: -len(".gguf")]), []).append(path)
    found = []
    for stem, files in groups.items():
        shard = _SHARD.search(files[0][: -len(".gguf")])
        if len(files) == (int(shard[2]) if shard else 1):
            found.append(Choice(tuple(files), files[0], _quantization(PurePosixPath(stem).name)))
    ranks = {name: rank for rank, name in enumerate(PREFERRED)}
    return sorted(found, key=lambda each: ranks.get(each.quantization or "", len(ranks)))


def _quantization(stem: str) -> str:
    """The last part of a file's name that says how it is quantized; all of the name where none does."""
    found = _QUANTIZATION.findall(stem)
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32") if found else stem


def _folder(paths: list[str]) -> Choice | None:
    """The safetensors model at a repository's root, if its config and all its weights are there."""
    weights = [path for path in paths if path.endswith(".safetensors") and "/" not in path]
    weights = [path for path in weights if _WEIGHTS.fullmatch(path)] or weights
    if "config.json" not in paths or not weights:
        return None
    if "model.safetensors" in weights:
        weights = ["model.safetensors"]
    shard = _SHARD.search(weights[0].removesuffix(".safetensors"))
    if shard and len(weights) < int(shard[2]):
        return None
    beside = [path for path in paths if path in _BESIDE or _BESIDE_TOO.fullmatch(path)]
    return Choice((*beside, *weights), "")


def _why_none(paths: list[str]) -> str:
    if any(path.endswith((".bin", ".pth", ".pt")) for path in paths):
        return "its weights are pickled (*.bin), which is not safe to open; look for a safetensors or GGUF version"
    return "there is no GGUF file, and no config.json with safetensors"
