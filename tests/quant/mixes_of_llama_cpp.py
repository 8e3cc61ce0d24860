"""What llama.cpp's own quantizer gives each tensor: models of many shapes, and its dry runs, written down in mixes.json.

python tests/quant/mixes_of_llama_cpp.py    # asks llama-cpp-python, and writes the file anew
"""

from __future__ import annotations

import ctypes
import json
import re
import sys
import tempfile
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from heron.checkpoint.gguf_writer import write_gguf
from heron.quant.mixes import FILE_TYPES, Facts

KNOWN = Path(__file__).with_name("mixes.json")
LINE = re.compile(r"\]\s+(\S+)\s+- \[[^\]]*\], type = +\w+, size = [^\n]*?MiB -> +[\d.]+ MiB \((\w+)\)")
VOCABULARY = 64

#: File type -> {role: "FORMAT x COUNT ..." by layers}
Mix = dict[str, dict[str, str]]


@dataclass(frozen=True)
class Case:
    """A model's shape. ``imatrix``: llama.cpp was given an importance matrix."""

    layers: int = 16
    heads: int = 8
    kv: int = 8
    tied: bool = False
    experts: int = 0
    hidden: int = 256
    ff: int = 512
    architecture: str = "llama"
    imatrix: bool = False

    @property
    def facts(self) -> Facts:
        return Facts(self.architecture, self.layers, self.heads // self.kv, self.experts, self.imatrix)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name -> shape of every tensor."""
        d, k = self.hidden, self.hidden // self.heads * self.kv
        shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (VOCABULARY, d), "output_norm.weight": (d,)}
        if not self.tied:
            shapes["output.weight"] = (VOCABULARY, d)
        many, suffix = ((self.experts,), "_exps") if self.experts else ((), "")
        for layer in range(self.layers):
            block = {"attn_norm": (d,), "attn_output": (d, d)}
            if self.architecture == "falcon":
                shapes[f"blk.{layer}.attn_norm.bias"] = (d,)
                block |= {"attn_qkv": (d + 2 * k, d), "ffn_up": (self.ff, d), "ffn_down": (d, self.ff)}
            else:
                block |= {"attn_q": (d, d), "attn_k": (k, d), "attn_v": (k, d), "ffn_norm": (d,)}
                block |= {f"ffn_{part}{suffix}": (*many, self.ff, d) for part in ("gate", "up")}
                block[f"ffn_down{suffix}"] = (*many, d, self.ff)
            if self.experts:
                block["ffn_gate_inp"] = (self.experts, d)
            shapes |= {f"blk.{layer}.{name}.weight": shape for name, shape in block.items()}
        if self.architecture == "falcon":
            shapes["output_norm.bias"] = (d,)
        return shapes

    def metadata(self) -> dict[str, Any]:
        arch, size = self.architecture, self.hidden // self.heads
        values: dict[str, Any] = {
            "block_count": self.layers,
            "context_length": 512,
            "embedding_length": self.hidden,
            "feed_forward_length": self.ff,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv,
            "attention.layer_norm_rms_epsilon": 1e-5,
            "attention.layer_norm_epsilon": 1e-5,
            "rope.dimension_count": size,
        }
        if self.experts:
            values |= {"expert_count": self.experts, "expert_used_count": 2}
        tokens = [f"<{i}>" for i in range(VOCABULARY)]
        known = {"general.architecture": arch, "tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": tokens}
        known |= {"tokenizer.ggml.scores": np.zeros(VOCABULARY, np.float32), "tokenizer.ggml.token_type": np.ones(VOCABULARY, np.int32)}
        return known | {f"{arch}.{key}": value for key, value in values.items()}


CASES = {
    "plain": Case(),
    "four queries to a key": Case(kv=2),
    "two queries to a key, tied": Case(kv=4, tied=True, layers=12),
    "eight experts": Case(experts=8, kv=2),
    "sixteen experts": Case(experts=16, layers=9),
    "rows that are not whole blocks": Case(hidden=192, heads=6, kv=6, ff=320),
    "seventy billion": Case(layers=80, kv=1),
    "falcon": Case(architecture="falcon", kv=1, layers=34),
    "with importance": Case(imatrix=True),
    "with importance, four queries to a key": Case(imatrix=True, kv=2, layers=26),
}


def packed(formats: dict[str, str]) -> dict[str, str]:
    """Tensor -> format, as role -> "FORMAT x COUNT ..." by layers."""
    roles: dict[str, list[tuple[int, str]]] = {}
    for name, format in formats.items():
        layer = re.search(r"blk\.(\d+)\.", name)
        roles.setdefault(re.sub(r"blk\.\d+\.", "", name), []).append((int(layer[1]) if layer else 0, format))
    runs = {role: [(key, len(list(run))) for key, run in groupby(f for _, f in sorted(found))] for role, found in roles.items()}
    return {role: " ".join(f"{format}x{count}" for format, count in found) for role, found in sorted(runs.items())}


def ask(case: Case, folder: Path) -> Mix:
    """What llama.cpp's dry runs say, of each file type that it writes for such a model."""
    import llama_cpp

    path, said = folder / "model.gguf", []
    write_gguf(path, case.metadata(), {name: np.zeros(shape, np.float32) for name, shape in case.shapes().items()})

    @ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator, unused-ignore]
    def listen(level: int, text: bytes, data: Any) -> None:
        said.append(text.decode(errors="replace"))

    llama_cpp.llama_log_set(listen, None)
    kept, first = [], None
    if case.imatrix:
        for name, shape in case.shapes().items():
            values = (ctypes.c_float * shape[-1])(*[1.0] * shape[-1])
            kept.append(llama_cpp.llama_model_imatrix_data(name.encode(), values, shape[-1]))
        kept.append(llama_cpp.llama_model_imatrix_data(None, None, 0))
        first = (llama_cpp.llama_model_imatrix_data * len(kept))(*kept)
    mix: Mix = {}
    for type, (number, _) in FILE_TYPES.items():
        said.clear()
        params = llama_cpp.llama_model_quantize_default_params()
        params.ftype, params.nthread, params.dry_run = number, 1, True
        if first is not None:
            params.imatrix = ctypes.cast(first, type_of_field(params, "imatrix"))
        refused = llama_cpp.llama_model_quantize(str(path).encode(), str(folder / "out.gguf").encode(), ctypes.byref(params))
        if not refused and type != "F32":
            mix[type] = packed({name: format.upper() for name, format in LINE.findall("".join(said))})
    return mix


def type_of_field(struct: Any, name: str) -> Any:
    return dict(struct._fields_)[name]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        known = {name: ask(case, Path(folder)) for name, case in CASES.items()}
    KNOWN.write_text(json.dumps(known, indent=0) + "\n")
    print({name: len(mix) for name, mix in known.items()}, file=sys.stderr)


if __name__ == "__main__":
    main()
