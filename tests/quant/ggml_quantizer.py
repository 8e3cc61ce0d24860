"""llama.cpp's own quantizers, through the library that llama-cpp-python brings."""

from __future__ import annotations

import ctypes
import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.quant.formats import Format

#: What it refuses to make without importance.
NEEDS_IMPORTANCE = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"}


@cache
def _library() -> ctypes.CDLL | None:
    spec = importlib.util.find_spec("llama_cpp")
    if spec is None or spec.origin is None:
        return None
    paths = sorted((Path(spec.origin).parent / "lib").glob("*ggml-base.*"))
    if not paths:
        return None
    library = ctypes.CDLL(str(paths[0]))
    numbers = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64, ctypes.c_int64, ctypes.c_void_p]
    library.ggml_quantize_chunk.argtypes, library.ggml_quantize_chunk.restype = numbers, ctypes.c_size_t
    library.ggml_quantize_init.argtypes, library.ggml_quantize_init.restype = [ctypes.c_int], None
    return library


def available() -> bool:
    return _library() is not None


def quantize(fmt: Format, values: NDArray[np.float32], importance: NDArray[np.float32] | None = None) -> NDArray[np.uint8]:
    """Rows [rows, n] -> [rows, row_bytes], on one thread."""
    library = _library()
    assert library is not None
    rows, n = values.shape
    values = np.ascontiguousarray(values, np.float32)
    raw = np.zeros((rows, fmt.row_bytes(n)), np.uint8)
    weights = None if importance is None else np.ascontiguousarray(importance, np.float32).ctypes.data
    library.ggml_quantize_init(fmt.id)
    library.ggml_quantize_chunk(fmt.id, values.ctypes.data, raw.ctypes.data, 0, rows, n, weights)
    return raw
