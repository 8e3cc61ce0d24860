"""What Heron's quantizers lose beside llama.cpp's: the same model, file type and importance matrix, divergence from the unquantized model.

    python training/quality/train.py MODEL-FOLDER TEXT...                      # a small model that has learned something
    heron convert MODEL-FOLDER model-F32.gguf --dtype f32
    heron imatrix model-F32.gguf CALIBRATION-TEXT -o model.imatrix.gguf
    python benchmarks/quality.py model-F32.gguf HELD-OUT-TEXT --imatrix model.imatrix.gguf

Needs llama-cpp-python (``pip install -e '.[peers]'``). Both programs' files are read by Heron, with exact activations (f32), so that
only weights differ.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import heron
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.imatrix import ImportanceMatrix, read_imatrix
from heron.convert.quantize import quantization
from heron.engine.model import Model
from heron.evaluate.perplexity import Divergence, measure
from heron.evaluate.windows import Window, windows
from heron.quant.mixes import FILE_TYPES

TYPES = (
    *("Q2_K_S", "Q2_K", "Q3_K_S", "Q3_K_M", "Q3_K_L", "Q4_K_S", "Q4_K_M", "Q5_K_S", "Q5_K_M", "Q6_K"),
    *("IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M", "IQ3_XXS", "IQ3_XS", "IQ3_S", "IQ3_M", "IQ4_NL", "IQ4_XS"),
)


@ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)  # type: ignore[untyped-decorator, unused-ignore]
def _silent(level: int, text: bytes, data: Any) -> None:
    """llama.cpp's log, which is long."""


def by_llama_cpp(source: Path, out: Path, type: str, imatrix: ImportanceMatrix | None, threads: int) -> None:
    """``out`` as llama.cpp's own quantizer writes it."""
    import llama_cpp

    llama_cpp.llama_log_set(_silent, None)
    params: Any = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = FILE_TYPES[type][0], threads
    if imatrix is not None:
        entries = []
        for name, sums in imatrix.sums.items():
            values = sums.means.reshape(-1)
            entries.append(llama_cpp.llama_model_imatrix_data(name.encode(), (ctypes.c_float * len(values))(*values.tolist()), len(values)))
        entries.append(llama_cpp.llama_model_imatrix_data(None, None, 0))
        array = (llama_cpp.llama_model_imatrix_data * len(entries))(*entries)
        params.imatrix = ctypes.cast(array, dict(params._fields_)["imatrix"])
    if llama_cpp.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)):
        raise SystemExit(f"llama.cpp could not write {type}")


def by_heron(source: Path, out: Path, type: str, imatrix: ImportanceMatrix | None, threads: int) -> None:
    with Checkpoint(source) as checkpoint:
        quantization(checkpoint, type, imatrix=imatrix).write(out, threads=threads)


def divergence(path: Path, base: Model, parts: list[Window]) -> Divergence:
    model = heron.load(path, ctx_size=base.context_length, activations="f32", kv_dtype="f32")
    try:
        (*_, measured) = measure(model, parts, base)
    finally:
        model.close()
    assert measured.divergence is not None
    return measured.divergence


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("text", type=Path)
    parser.add_argument("--imatrix", type=Path)
    parser.add_argument("--types", default=",".join(TYPES))
    parser.add_argument("--chunks", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    imatrix = read_imatrix(options.imatrix) if options.imatrix else None
    base = heron.load(options.model, activations="f32", kv_dtype="f32", ctx_size=512)
    parts = windows(base, options.text.read_text(), 512, options.chunks)
    table, rows = Table("type", "bytes", "KL, Heron", "KL, llama.cpp", "ratio", "seconds, Heron", "llama.cpp", box=None), []
    with tempfile.TemporaryDirectory() as folder:
        for type in options.types.split(","):
            row: dict[str, Any] = {"type": type}
            for name, write in (("heron", by_heron), ("llama.cpp", by_llama_cpp)):
                out, begin = Path(folder) / f"{name}.gguf", time.perf_counter()
                write(options.model, out, type, imatrix, options.threads)
                seconds = time.perf_counter() - begin
                with Checkpoint(out) as checkpoint:
                    size = sum(tensor.nbytes for tensor in checkpoint.tensors.values())
                away = divergence(out, base, parts)
                row[name] = {"bytes": size, "kl": away.mean, "kl_error": away.error, "top": away.top_agreement, "seconds": seconds}
            ours, theirs = row["heron"], row["llama.cpp"]
            assert ours["bytes"] == theirs["bytes"], f"{type}: {ours['bytes']} and {theirs['bytes']} bytes"
            row["ratio"] = ours["kl"] / theirs["kl"]
            rows.append(row)
            taken = (f"{x['seconds']:.1f}" for x in (ours, theirs))
            table.add_row(type, f"{ours['bytes']:,}", f"{ours['kl']:.5f}", f"{theirs['kl']:.5f}", f"{row['ratio']:.3f}", *taken)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
