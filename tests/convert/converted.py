"""Tiny models with a tokenizer in their folder, and what the command makes of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import parity
import torch
from tiny_models import EVERY
from tokenizer_folders import FOLDERS
from typer.testing import CliRunner

from heron.cli import app

ROWS = 640  # of the embedding: a few more than any of the tokenizers has tokens

#: Families whose layouts differ between the two kinds of files: permuted, fused, transposed, stacked, alternating, shifted.
LAYOUTS = ("llama", "phi3", "gpt2", "qwen3moe", "gpt-oss", "gemma3")

#: Where llama.cpp computes in one way only what configurations can say in several: that way.
AS_LLAMA_CPP: dict[str, dict[str, Any]] = {
    "phi3": {"sliding_window": None},
    "gpt-oss": {"swiglu_limit": 7.0, "rope_parameters": {"rope_type": "default", "rope_theta": 500.0}},
    "gemma3": {"query_pre_attn_scalar": 20},
}


def folder_with_tokenizer(
    name: str, folder: Path, *, dtype: torch.dtype = torch.float32, shard_size: str = "5GB", **config: Any
) -> parity.Tiny:
    """A tiny model of this family, of random numbers that ``dtype`` holds, saved with a tokenizer; ``config`` changes its configuration."""
    described = EVERY[name]()
    for key, value in {**config, "vocab_size": ROWS}.items():
        setattr(described, key, value)
    made = parity.tiny(described, folder)
    if (dtype, shard_size) != (torch.float32, "5GB"):
        for file in folder.glob("*.safetensors"):
            file.unlink()
        made.hf.to(dtype).save_pretrained(folder, max_shard_size=shard_size)
        made.hf.float()
    FOLDERS["byte-level BPE"](folder)
    return made


def convert(*args: str | Path) -> None:
    """The command, which must succeed."""
    result = CliRunner().invoke(app, ["convert", *map(str, args)], catch_exceptions=False)
    assert result.exit_code == 0, result.output


def greedy(made: parity.Tiny, tokens: list[int], count: int, banned: Collection[int] = ()) -> list[int]:
    """The tokens that transformers writes behind these."""
    written: list[int] = []
    for _ in range(count):
        logits = made.expected([*tokens, *written])[-1]
        logits[list(banned)] = -np.inf
        written.append(int(logits.argmax()))
    return written
