"""A vocabulary for tiny models, as GGUF metadata: files without one are opened by nobody's program."""

from __future__ import annotations

import string
from typing import Any


def vocabulary(size: int) -> dict[str, Any]:
    """``size`` tokens (at least 30) of the kind "llama": three with a meaning, a space, the letters, and others that no text has."""
    tokens = ["<unk>", "<s>", "</s>", "▁", *string.ascii_lowercase]
    tokens += [f"<{i}>" for i in range(len(tokens), size)]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.scores": [-float(i) for i in range(size)],
        "tokenizer.ggml.token_type": [2, 3, 3] + [1] * (size - 3),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
