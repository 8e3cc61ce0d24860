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

_SHARD = re.compile(r"-(\d{5,})-of-(\d{5,})$")
_KIND = r"(?:UD-)?(?:I?Q\d(?:_[A-Z0-9]+)*|TQ\d_\d|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32)"
_QUANTIZATION = re.compile(rf"(?:^|[-._])({_KIND})(?=$|[-._])", re.IGNORECASE)
#: What a safetensors model is called beside GGUF models, in place of a quantization.
SAFETENSORS = "safetensors"

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
_WEIGHTS = re.compile(r"model(-\d{5,}-of-\d{5,})?\.safetensors")


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
    return [each.choice for each in _groups(paths) if not each.missing]


def choose(paths: Iterable[str], wanted: str | None, where: str) -> Choice:
    """The model that is wanted: a quantization or a file by its name, or None for the preferred one.

    Raises HubError, with what there is, where there is no such model, or more than one.
    """
    paths = list(paths)
    chosen = select(paths, wanted)
    if len(chosen) == 1:
        return chosen[0]
    found = choices(paths)
    if chosen:
        files = ", ".join(each.entry for each in chosen)
        raise HubError(f"{where} has {len(chosen)} models in {chosen[0].quantization}; name one of the files behind a colon: {files}")
    cut = [each for each in _groups(paths) if each.missing > 0 and (wanted is None or wanted.lower() in _names(each.choice))]
    if cut:
        part, missing = cut[0].choice.files[-1], cut[0].missing
        raise HubError(f"{where} has {part}, but lacks {missing} of that model's parts")
    if not found:
        raise HubError(f"{where}: {_why_none(paths)}")
    there = ", ".join(dict.fromkeys(each.quantization or SAFETENSORS for each in found))
    raise HubError(f"{where} has no {wanted}; there is {there}")


def select(paths: Iterable[str], wanted: str | None) -> list[Choice]:
    """The models that a name means among these files; one, if all is well."""
    found = choices(paths)
    if wanted is None:
        return [each for each in found if each.quantization == found[0].quantization]
    exact = [each for each in found if each.entry.lower() in (wanted.lower(), f"{wanted.lower()}.gguf")]
    return exact or [each for each in found if wanted.lower() in _names(each)]


@dataclass(frozen=True)
class _Group:
    """A model's files that are there, and how many are missing."""

    choice: Choice
    missing: int


def _names(choice: Choice) -> set[str]:
    """What a model may be called behind the colon, beside its path, in lower case."""
    if not choice.entry:
        return {SAFETENSORS}
    file = PurePosixPath(choice.entry).name.lower()
    stem = file.removesuffix(".gguf")
    return {(choice.quantization or "").lower(), file, stem, _SHARD.sub("", stem)}


def _groups(paths: Iterable[str]) -> list[_Group]:
    paths = sorted(paths)
    return _ggufs(paths) + _folder(paths)


def _ggufs(paths: list[str]) -> list[_Group]:
    stems: dict[str, list[str]] = {}
    for path in paths:
        if path.lower().endswith(".gguf") and not _is_beside(PurePosixPath(path).name):
            stems.setdefault(_SHARD.sub("", path[: -len(".gguf")]), []).append(path)
    found = []
    for stem, files in stems.items():
        shard = _SHARD.search(files[0][: -len(".gguf")])
        found.append(
            _Group(Choice(tuple(files), files[0], _quantization(PurePosixPath(stem))), (int(shard[2]) if shard else 1) - len(files))
        )
    ranks = {name: rank for rank, name in enumerate(PREFERRED)}
    return sorted(found, key=lambda each: ranks.get(each.choice.quantization or "", len(ranks)))


def _is_beside(file: str) -> bool:
    """Whether a GGUF file is no model itself: a projector of images or sound, an importance matrix (which a model may be named after)."""
    file = file.lower()
    return "mmproj" in file or ("imatrix" in file and not _QUANTIZATION.search(file))


def _quantization(stem: PurePosixPath) -> str:
    """The last part of a file's name that says how it is quantized, or of its folder's; all of the name where none does."""
    found = _QUANTIZATION.findall(stem.name) or _QUANTIZATION.findall(stem.parent.name)
    return str(found[-1]).upper().replace("FP16", "F16").replace("FP32", "F32") if found else stem.name


def _folder(paths: list[str]) -> list[_Group]:
    """The safetensors model at a repository's root, if there is one."""
    weights = [path for path in paths if path.endswith(".safetensors") and "/" not in path]
    weights = [path for path in weights if _WEIGHTS.fullmatch(path)] or weights
    if "config.json" not in paths or not weights:
        return []
    if "model.safetensors" in weights:
        weights = ["model.safetensors"]
    shard = _SHARD.search(weights[0].removesuffix(".safetensors"))
    beside = [path for path in paths if path in _BESIDE or _BESIDE_TOO.fullmatch(path)]
    return [_Group(Choice((*beside, *weights), ""), max(0, (int(shard[2]) if shard else 1) - len(weights)))]


def _why_none(paths: list[str]) -> str:
    if "adapter_config.json" in paths:
        return "it holds an adapter, which belongs to another model, and no model"
    if any(path.endswith((".bin", ".pth", ".pt")) for path in paths):
        return "its weights are pickled (*.bin), which is not safe to open; look for a safetensors or GGUF version"
    return "there is no GGUF file, and no config.json with safetensors"
