"""llama.cpp's own numbers for a GGUF file, through llama-cpp-python's bindings of its C interface.

Everything is exact where llama.cpp lets it be: keys and values in f32, no flash attention, one thread.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float32]

_F32 = 0  # of enum ggml_type
_NO_POOLING = 0
_said: list[str] = []


class Refused(Exception):
    """llama.cpp does not open the file; the message is its last words."""


def logits(path: Path, tokens: Sequence[int], **context: Any) -> Numbers:
    """[T, vocab] logits after each token. ``context`` changes fields of ``llama_context_params``."""
    with _opened(path, tokens, **context) as (api, model, handle):
        return _read(api, handle, api.llama_decode, tokens, api.llama_get_logits, _vocabulary(api, model))


def hidden(path: Path, tokens: Sequence[int], **context: Any) -> Numbers:
    """[T, hidden] last hidden states of an encoder."""
    with _opened(path, tokens, embeddings=True, pooling_type=_NO_POOLING, **context) as (api, model, handle):
        return _read(api, handle, api.llama_encode, tokens, api.llama_get_embeddings, api.llama_model_n_embd(model))


def translated(path: Path, source: Sequence[int], tokens: Sequence[int]) -> Numbers:
    """[T, vocab] logits of an encoder-decoder that has read ``source``."""
    with _opened(path, [*source, *tokens]) as (api, model, handle):
        with _batch(api, source) as batch:
            assert api.llama_encode(handle, batch) == 0
        return _read(api, handle, api.llama_decode, tokens, api.llama_get_logits, _vocabulary(api, model))


def _vocabulary(api: Any, model: Any) -> int:
    size: int = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
    return size


def _read(api: Any, handle: Any, compute: Callable[..., int], tokens: Sequence[int], read: Callable[..., Any], width: int) -> Numbers:
    with _batch(api, tokens) as batch:
        assert compute(handle, batch) == 0, "llama.cpp could not compute the batch"
        return np.ctypeslib.as_array(ctypes.cast(read(handle), ctypes.POINTER(ctypes.c_float)), (len(tokens), width)).copy()


@contextmanager
def _opened(path: Path, tokens: Sequence[int], **context: Any) -> Iterator[tuple[Any, Any, Any]]:
    import llama_cpp as api

    api.llama_backend_init()
    api.llama_log_set(_listening(api), None)
    _said.clear()
    model = api.llama_model_load_from_file(str(path).encode(), api.llama_model_default_params())
    if not model:
        raise Refused(_errors())
    params = api.llama_context_default_params()
    room = max(64, len(tokens))
    given = {"n_ctx": room, "n_batch": room, "n_ubatch": room, "n_threads": 1, "n_threads_batch": 1, "type_k": _F32, "type_v": _F32}
    for name, value in {**given, "flash_attn_type": api.LLAMA_FLASH_ATTN_TYPE_DISABLED, "offload_kqv": False, **context}.items():
        assert hasattr(params, name), name
        setattr(params, name, value)
    handle = api.llama_init_from_model(model, params)
    if not handle:
        raise Refused(_errors())
    try:
        yield api, model, handle
    finally:
        api.llama_free(handle)
        api.llama_model_free(model)


def _errors() -> str:
    return "".join(line for line in _said if "error" in line)


@cache
def _listening(api: Any) -> Any:
    """The callback that takes what llama.cpp says; kept, since llama.cpp keeps it."""
    return api.llama_log_callback(lambda level, text, data: _said.append(text.decode(errors="replace")))


@contextmanager
def _batch(api: Any, tokens: Sequence[int]) -> Iterator[Any]:
    """One sequence's tokens at positions 0, 1, ..., outputs wanted of each."""
    batch = api.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for i, token in enumerate(tokens):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
    try:
        yield batch
    finally:
        api.llama_batch_free(batch)
