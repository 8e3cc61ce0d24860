"""The table of quantizations of HF checkpoints: which can be read, by which parts a matrix is known, and what else files hold."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from heron.checkpoint.json_file import read_object
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.quantized.awq import awq
from heron.checkpoint.quantized.bitnet import bitnet
from heron.checkpoint.quantized.bitsandbytes import KINDS, four_bits
from heron.checkpoint.quantized.exl2 import exl2
from heron.checkpoint.quantized.fp4 import modelopt_nvfp4, packed_fp4
from heron.checkpoint.quantized.gptq import gptq
from heron.checkpoint.quantized.mlx import mlx
from heron.checkpoint.quantized.packed import packed
from heron.checkpoint.quantized.parts import Parts
from heron.checkpoint.quantized.scaled import NAMES, scaled
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import InOrder
from heron.errors import CheckpointError, UnsupportedError

Tensors = dict[str, Tensor]

#: Makes the tensors (suffix -> tensor) that a matrix becomes.
Reader = Callable[[Parts, Metadata], Tensors]


@dataclass(frozen=True)
class Layout:
    """A matrix is stored so where there is ``{stem}.{marker}``, of one of ``formats``, beside all of ``beside`` (any of a tuple)."""

    marker: str
    read: Reader
    formats: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()

    def fits(self, parts: Parts) -> bool:
        tensor = parts.tensors.get(f"{parts.stem}.{self.marker}")
        right = tensor is not None and (not self.formats or tensor.format.name in self.formats)
        return right and all(parts.has(suffix) for suffix in self.beside)


GPTQ, AWQ = Layout("qweight", gptq), Layout("qweight", awq)
FP8, INT8 = Layout("weight", scaled, ("F8_E4M3",)), tuple(Layout("weight", scaled, ("I8",), (name,)) for name in NAMES)
PACKED = Layout("weight_packed", packed, ("I32",))
FP4 = Layout("weight_packed", packed_fp4, ("I8",))
NVFP4 = Layout("weight", modelopt_nvfp4, ("I8",), ("weight_scale_2",))
FOUR_BITS = tuple(Layout("weight", four_bits, ("I8",), (f"weight.quant_state.bitsandbytes__{kind}",)) for kind in KINDS)

#: quant_method -> the layouts that its files may hold. The first that fits a matrix is its own; what fits none is not quantized.
METHODS: Mapping[str, tuple[Layout, ...]] = {
    "gptq": (GPTQ,),
    "awq": (AWQ,),
    "fp8": (FP8,),
    "fbgemm_fp8": (FP8,),
    "modelopt": (NVFP4, FP8),
    "compressed-tensors": (PACKED, FP4, FP8, *INT8),
    "bitsandbytes": (*FOUR_BITS, *INT8),
    "mlx": (Layout("weight", mlx, ("I32",)),),
    "bitnet": (Layout("weight", bitnet, ("I8",)),),
    "exl2": (Layout("q_weight", exl2),),
}

_GGUF = "use the unquantized model, a GGUF file of it, or one quantized as {readable}"

#: quant_method -> what to do about files that are known and cannot be read.
ELSEWHERE: Mapping[str, str] = {
    "exl3": "its trellis codes have no blocks to rewrite them into: dequantize it with exllamav3's convert tools, or " + _GGUF,
    "quanto": "save the unquantized model (optimum-quanto's dequantize), or " + _GGUF,
    "hqq": "save the model after HQQ's dequantize, or " + _GGUF,
    "torchao": "save the model after torchao's dequantize, or " + _GGUF,
    "aqlm": _GGUF,
    "vptq": _GGUF,
    "spqr": _GGUF,
    "higgs": "save the model after transformers' dequantize, or " + _GGUF,
    "eetq": _GGUF,
    "quark": "export it as FP8 or AWQ, or " + _GGUF,
    "fp_quant": "save the model after transformers' dequantize, or " + _GGUF,
    "mxfp4": "only gpt-oss stores experts so; " + _GGUF,
}

#: Tensors that belong to a quantization and to no matrix's value: scales of activations and of caches, which Heron does not round so.
IGNORED = re.compile(
    r"\.((input|output)_(scale|scale_ub|global_scale|zero_point)|activation_scale|qscale_act|kv_scale|[qkv]_(scale|zero_point)"
    r"|weight_format|q_perm)$"
)


def find_quantization(config: Metadata, folder: Path) -> tuple[str, Metadata] | None:
    """The method and its configuration, from config.json or from where some libraries write it instead. None: not quantized.

    Raises UnsupportedError for a method that is known and cannot be read, and for one that is not known.
    """
    found = _described(config, folder)
    if found is None:
        return None
    method, described = found
    if method in METHODS:
        return found
    advice = ELSEWHERE.get(method, _GGUF).format(readable=", ".join(METHODS))
    raise UnsupportedError(f"{described.where}: quantized with {method!r}, which cannot be read; {advice}")


def _described(config: Metadata, folder: Path) -> tuple[str, Metadata] | None:
    for table in (config, config.table("text_config", Metadata(where=config.where))):
        for key in ("quantization_config", "compression_config", "quantization"):
            if table.get(key) is not None:
                described = table.table(key)
                return _method(described), described
    path = folder / "hf_quant_config.json"
    if path.is_file():
        described = Metadata(read_object(path), where=str(path)).table("quantization")
        return ("modelopt", described) if described.text("quant_algo", None) is not None else None
    return None


def _method(described: Metadata) -> str:
    """The method's name in the table."""
    method = described.text("quant_method", None)
    if method is None:  # mlx-lm writes none
        return "mlx" if "bits" in described and "group_size" in described else "unknown"
    if method in ("auto-round", "auto_round", "intel/auto-round"):
        packing = described.text("packing_format", "auto_round:auto_gptq")
        return {"auto_round:auto_gptq": "gptq", "auto_round:auto_awq": "awq"}.get(packing, f"{method} ({packing})")
    if method in ("modelopt", "modelopt_fp4", "modelopt_fp8"):
        return "modelopt"
    if method == "gptq" and described.text("checkpoint_format", "gptq") in ("awq", "gemm"):
        return "awq"
    return method


def describe(method: str, config: Metadata) -> str:
    """For people: the method, and what its configuration says of its numbers."""
    words = [method]
    for key, text in (("quant_algo", "{}"), ("format", "{}"), ("version", "{}"), ("bits", "{} bits"), ("group_size", "groups of {}")):
        value = config.get(key)
        if isinstance(value, str | int) and value != -1:
            words.append(text.format(value))
    return ", ".join(words + (["act-order"] if config.get("desc_act") is True else []))


def assemble(tensors: Tensors, method: str, config: Metadata, where: str) -> Tensors:
    """Stored tensors by their HF names -> those of the model, each quantized matrix as one; what only quantizations need is left out.

    Raises CheckpointError where a matrix's parts are missing or do not fit each other.
    """
    _refuse(config)
    result: Tensors = {}
    taken: set[str] = set()
    for name in tensors:
        for layout in METHODS[method]:
            stem = name.removesuffix(f".{layout.marker}")
            parts = Parts(where, stem, tensors)
            if stem != name and layout.fits(parts):
                result |= {f"{stem}.{suffix}": _usable(stem, tensor) for suffix, tensor in layout.read(parts, config).items()}
                taken |= parts.taken
                break
    if not taken:
        raise CheckpointError(
            f"{where}: no matrix is stored as {method!r} stores them, which {config.where} says; the folder mixes two models"
        )
    left = {name: tensor for name, tensor in tensors.items() if name not in taken and not IGNORED.search(name)}
    if clash := sorted(left.keys() & result.keys()):
        raise CheckpointError(f"{where}: {clash[0]!r} is stored both as it is and quantized; the folder mixes two models")
    return left | result


def _usable(stem: str, tensor: Tensor) -> Tensor:
    """Experts share the order of their input: those whose columns are stored in orders of their own are decoded."""
    return InOrder(tensor) if tensor.column_order is not None and re.search(r"\.experts\.\d+\.", stem) else tensor


def _refuse(config: Metadata) -> None:
    """What the configuration asks for beyond the numbers of matrices."""
    if config.get("transform_config"):
        what = f"{config.where}: activations are to be transformed (transform_config), which cannot be run"
        raise UnsupportedError(f"{what}; use another quantization of the model")
    sparsity = config.get("sparsity_config")
    if isinstance(sparsity, dict) and sparsity.get("format", "dense") != "dense":
        raise UnsupportedError(f"{config.where}: sparse weights ({sparsity['format']!r}) cannot be read; save the model dense")
