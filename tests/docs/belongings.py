"""What readers of the docs bring: models, texts, a hub. Everything is made here of the model that ships with Heron, but for an encoder."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from heron import Checkpoint, pocket
from heron.checkpoint.gguf_writer import write_gguf
from heron.convert.to_gguf import write_as_gguf
from heron.convert.to_hf import write_as_hf

#: Repositories of the hub that pages name, and the files in them: each is the pocket model.
HUB = {"unsloth/Qwen3-0.6B-GGUF": ("Qwen3-0.6B-Q4_K_M.gguf", "Qwen3-0.6B-Q8_0.gguf")}

TEXT = "Herons stand in shallow water and wait. They are patient birds: they may stand so for an hour before they strike.\n"


def bring(folder: Path) -> None:
    """Put into a folder the files that pages speak of as the reader's own."""
    shutil.copy(pocket.path(), folder / "model.gguf")
    shutil.copy(pocket.path(), folder / "pocket.gguf")
    write_encoder(folder / "bert.gguf")
    sentences = folder / "all-MiniLM-L6-v2"
    sentences.mkdir()
    shutil.copy(folder / "bert.gguf", sentences / "model.gguf")
    with Checkpoint(pocket.path()) as whole:
        write_as_gguf(whole, folder / "model-F16.gguf", dtype="f16")
        write_as_hf(whole, folder / "folder", dtype="f16")
    for name, text in {"text.txt": TEXT * 12, "notes.txt": TEXT, "lines.txt": TEXT * 2, "keys.txt": "a-key\n"}.items():
        (folder / name).write_text(text)


def hub_files() -> dict[str, dict[str, bytes]]:
    """The repositories of the fake hub."""
    model = pocket.path().read_bytes()
    return {repository: dict.fromkeys(files, model) for repository, files in HUB.items()}


def write_encoder(path: Path, hidden: int = 32, layers: int = 2) -> None:
    """A BERT of random weights, which knows letters alone."""
    random = np.random.default_rng(8)
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    tokens += [start + letter for start in ("▁", "") for letter in "abcdefghijklmnopqrstuvwxyz.,:?"]

    def made(*shape: int) -> np.ndarray:
        return random.normal(0, 0.1, shape).astype(np.float32)

    tensors = {
        f"{name}.weight": made(rows, hidden) for name, rows in (("token_embd", len(tokens)), ("position_embd", 128), ("token_types", 2))
    }
    sizes = {"attn_q": (hidden, hidden), "attn_k": (hidden, hidden), "attn_v": (hidden, hidden), "attn_output": (hidden, hidden)}
    sizes |= {"ffn_up": (64, hidden), "ffn_down": (hidden, 64)}
    norms = ["token_embd_norm", *(f"blk.{i}.{name}_output_norm" for i in range(layers) for name in ("attn", "layer"))]
    for i in range(layers):
        for name, size in sizes.items():
            tensors |= {f"blk.{i}.{name}.weight": made(*size), f"blk.{i}.{name}.bias": made(size[0])}
    for name in norms:
        tensors |= {f"{name}.weight": 1 + made(hidden), f"{name}.bias": made(hidden)}
    metadata = {
        "general.architecture": "bert",
        "general.name": "letters",
        "bert.context_length": 128,
        "bert.embedding_length": hidden,
        "bert.block_count": layers,
        "bert.feed_forward_length": 64,
        "bert.attention.head_count": 4,
        "bert.attention.layer_norm_epsilon": 1e-12,
        "bert.attention.causal": False,
        "bert.pooling_type": 1,
        "tokenizer.ggml.model": "bert",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": [3] * 5 + [1] * (len(tokens) - 5),
        "tokenizer.ggml.padding_token_id": 0,
        "tokenizer.ggml.unknown_token_id": 1,
        "tokenizer.ggml.cls_token_id": 2,
        "tokenizer.ggml.seperator_token_id": 3,
        "tokenizer.ggml.mask_token_id": 4,
    }
    write_gguf(path, metadata, tensors)
