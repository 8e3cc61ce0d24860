"""A GGUF file of a real model's shape with random weights: how fast it runs does not depend on their values.

    python benchmarks/make_model.py llama-3.2-1b Q4_0 model.gguf --vocab SOME.gguf [--head Q8_0]

The tokenizer is copied from ``--vocab``, any GGUF file of that family. Formats that take Heron's compiled core to write have random
blocks here, whose numbers are of the right size: not every machine has it. ``--head`` is the format of the embeddings, which the
tied head multiplies by too. Q4_K_M is Q4_K with the head, and half of the layers' attn_v and ffn_down, in Q6_K, as llama.cpp mixes them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import Tensor
from heron.quant.formats import FORMATS, Format
from heron.quant.quantize import quantize


@dataclass(frozen=True)
class Shape:
    """A decoder without options: grouped queries, gated feed-forward."""

    architecture: str
    layers: int
    hidden: int
    feed_forward: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    theta: float
    tied: bool
    bias: bool = False  #: of queries, keys and values
    head_norms: bool = False  #: each head of queries and keys has a norm

    def metadata(self) -> dict[str, Any]:
        arch = self.architecture
        return {
            "general.architecture": arch,
            f"{arch}.block_count": self.layers,
            f"{arch}.context_length": 8192,
            f"{arch}.embedding_length": self.hidden,
            f"{arch}.feed_forward_length": self.feed_forward,
            f"{arch}.attention.head_count": self.heads,
            f"{arch}.attention.head_count_kv": self.kv_heads,
            f"{arch}.attention.key_length": self.head_dim,
            f"{arch}.attention.value_length": self.head_dim,
            f"{arch}.attention.layer_norm_rms_epsilon": 1e-5,
            f"{arch}.rope.dimension_count": self.head_dim,
            f"{arch}.rope.freq_base": self.theta,
            f"{arch}.vocab_size": self.vocab,
        }

    def matrices(self) -> dict[str, tuple[int, int]]:
        """Name in a layer -> [out, in]."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "attn_q": (queries, self.hidden),
            "attn_k": (keys, self.hidden),
            "attn_v": (keys, self.hidden),
            "attn_output": (self.hidden, queries),
            "ffn_gate": (self.feed_forward, self.hidden),
            "ffn_up": (self.feed_forward, self.hidden),
            "ffn_down": (self.hidden, self.feed_forward),
        }


SHAPES = {
    "llama-3.2-1b": Shape("llama", 16, 2048, 8192, 32, 8, 64, 128256, 500000.0, True),
    "llama-3.1-8b": Shape("llama", 32, 4096, 14336, 32, 8, 128, 128256, 500000.0, False),
    "qwen3-0.6b": Shape("qwen3", 28, 1024, 3072, 16, 8, 128, 151936, 1000000.0, True, head_norms=True),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, 1000000.0, True, bias=True),
}


def _q4_k(blocks: Any, size: float) -> None:
    """d (scale in 0 to 63) (code in 0 to 15) - dmin (minimum in 0 to 63), around 0."""
    blocks["d"], blocks["dmin"] = size / 260, 7.5 * size / 260


def _q6_k(blocks: Any, size: float) -> None:
    blocks["d"] = size / 1350  # scales spread by 74, codes by 18


def _e4m3(blocks: Any, size: float) -> None:
    blocks["qs"] &= 0xBF  # none is above 2, or no number
    blocks["d"] = size / 0.5


#: Formats whose blocks are made of random bytes: sets their scales so that numbers are about as large as ``size``.
BLOCKS: dict[str, Callable[[Any, float], None]] = {"Q4_K": _q4_k, "Q6_K": _q6_k, "E4M3_32": _e4m3, "E4M3_128": _e4m3}

#: Two formats under one name: the second for what a mix holds more exactly.
MIXES = {"Q4_K_M": ("Q4_K", "Q6_K")}


def format_of(mix: str, name: str, layer: int = 0, layers: int = 1) -> Format:
    """The format of a matrix in a layer, or of the ``head``."""
    plain, better = MIXES.get(mix, (mix, mix))
    more = layer < layers // 8 or layer >= 7 * layers // 8 or (layer - layers // 8) % 3 == 2
    return FORMATS[better if name == "head" or (more and name in ("attn_v", "ffn_down")) else plain]


class Random(Tensor):
    """Normal random numbers, of which a few hundred rows are made and taken again and again."""

    TILE = 331  # a prime: neighbouring panels of rows differ

    def __init__(self, shape: tuple[int, int], format: Format, seed: int) -> None:
        self.shape, self.format = shape, format
        rng, rows = np.random.default_rng(seed), min(self.TILE, shape[0])
        if format.name in BLOCKS:
            blocks = rng.integers(0, 256, (rows, format.row_bytes(shape[1])), np.uint8).view(format.layout)
            BLOCKS[format.name](blocks, shape[1] ** -0.5)
            self._tile = blocks.view(np.uint8)
        else:
            self._tile = quantize(format, rng.standard_normal((rows, shape[1]), np.float32) * shape[1] ** -0.5)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self._tile[np.arange(start, self._stop(stop)) % len(self._tile)]


def tensors(shape: Shape, format: str, head: str = "") -> dict[str, Tensor | NDArray[np.float32]]:
    """``format`` is a format's name or a mix's."""
    first = FORMATS[head] if head else format_of(format, "head" if shape.tied else "token_embd")
    made: dict[str, Tensor | NDArray[np.float32]] = {"token_embd.weight": Random((shape.vocab, shape.hidden), first, 0)}
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for seed, (name, size) in enumerate(shape.matrices().items()):
            made[f"{block}.{name}.weight"] = Random(size, format_of(format, name, layer, shape.layers), seed)
            if shape.bias and name in ("attn_q", "attn_k", "attn_v"):
                made[f"{block}.{name}.bias"] = np.zeros(size[0], np.float32)
        if shape.head_norms:
            made[f"{block}.attn_q_norm.weight"] = made[f"{block}.attn_k_norm.weight"] = np.ones(shape.head_dim, np.float32)
        made[f"{block}.attn_norm.weight"] = made[f"{block}.ffn_norm.weight"] = np.ones(shape.hidden, np.float32)
    made["output_norm.weight"] = np.ones(shape.hidden, np.float32)
    if not shape.tied:
        made["output.weight"] = Random((shape.vocab, shape.hidden), FORMATS[head] if head else format_of(format, "head"), 1)
    return made


def tokenizer(path: str, size: int) -> dict[str, Any]:
    """The file's tokenizer, with tokens that stand for nothing up to the size."""
    with Checkpoint(path) as checkpoint:
        kept = {key: value for key, value in checkpoint.metadata.items() if key.startswith("tokenizer.")}
    words = list(kept["tokenizer.ggml.tokens"])[:size]
    more = size - len(words)
    kept["tokenizer.ggml.tokens"] = words + [f"<pad{i}>" for i in range(more)]
    for key, filler in (("token_type", 5), ("scores", 0.0)):
        if (values := kept.get(f"tokenizer.ggml.{key}")) is not None:
            kept[f"tokenizer.ggml.{key}"] = np.append(values[:size], np.full(more, filler, values.dtype))
    return kept


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("format", choices=[*FORMATS, *MIXES], metavar="FORMAT")
    parser.add_argument("out")
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--head", choices=FORMATS, metavar="FORMAT")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    metadata = shape.metadata() | {"general.name": f"{options.shape}-random"} | tokenizer(options.vocab, shape.vocab)
    write_gguf(options.out, metadata, tensors(shape, options.format, options.head or ""))


if __name__ == "__main__":
    main()
