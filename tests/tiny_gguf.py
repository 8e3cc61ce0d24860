"""GGUF files of tiny models, and the commands on them; with a vocabulary, since files without one are opened by no program."""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import Any

import numpy as np
import parity
import torch
from typer.testing import CliRunner

from heron import load
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.cli import app
from heron.text.tokenizer import Tokenizer

#: Logits that differ by less than this part of their spread may change places: keys and values are stored in half precision.
NEARLY = 0.02


def write_tiny(folder: Path, **metadata: Any) -> Path:
    """The GGUF file of the model in a HF folder, written beside it; ``metadata`` is of the tokenizer (``tokenizer.ggml.*``)."""
    checkpoint, path = Checkpoint(folder), folder / "written.gguf"
    named = {"general.name": "tiny"}  # not by a folder that a test is named after: programs look for tokens in a phi-3's vocabulary
    tokens = vocabulary(checkpoint.tensors["token_embd.weight"].shape[0])
    tokens |= {f"tokenizer.ggml.{key}": value for key, value in metadata.items()}
    write_gguf(path, dict(checkpoint.metadata) | named | tokens, checkpoint.tensors)
    return path


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


def heron(*args: str | Path) -> str:
    """What the command prints."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def check_commands(made: parity.Tiny) -> None:
    """`heron info` and `heron run` on the GGUF file: each token that is written is transformers' choice, or as good as that."""
    path = write_tiny(made.folder)
    checkpoint, tokenizer = Checkpoint(path), Tokenizer.from_file(path)
    facts = json.loads(heron("info", path, "--json"))
    assert (facts["architecture"], facts["parameters"]) == (checkpoint.architecture, sum(t.size for t in checkpoint.tensors.values()))
    prompt = "heron reads others"
    text = heron("run", path, "--raw", "-t", "0", "-n", "12", "-p", prompt, "--threads", "1")
    written = load(path, threads=1).generate(prompt, max_tokens=12, temperature=0)
    assert text.rstrip("\n") == written.text
    tokens = tokenizer.encode(prompt)
    for count, token in enumerate(written.tokens):
        logits = next_logits(made.hf, tokens, written.tokens[:count])
        assert logits.max() - logits[token] <= NEARLY * logits.std()


def check_embed_command(made: parity.Tiny) -> None:
    """`heron info` and `heron embed` on an encoder's GGUF file: transformers' hidden states, their mean."""
    path = write_tiny(made.folder, add_bos_token=False)  # which is 1, padding to RoBERTa
    assert json.loads(heron("info", path, "--json"))["architecture"] == Checkpoint(path).architecture
    text = "heron reads others"
    vector = np.array(heron("embed", path, text, "--no-normalize", "--threads", "1").split(), np.float32)
    with torch.no_grad():
        hidden = made.hf(torch.tensor([Tokenizer.from_file(path).encode(text)])).last_hidden_state[0]
    assert parity.difference(vector, hidden.mean(0).numpy()) <= parity.TOLERANCE


def next_logits(hf: Any, prompt: list[int], written: list[int]) -> torch.Tensor:
    """transformers' logits [vocab] of the token after these."""
    with torch.no_grad():
        if not hf.config.is_encoder_decoder:
            return hf(input_ids=torch.tensor([prompt + written]), use_cache=False).logits[0, -1]
        begun = torch.tensor([[hf.config.decoder_start_token_id, *written]])
        return hf(input_ids=torch.tensor([prompt]), decoder_input_ids=begun, use_cache=False).logits[0, -1]
