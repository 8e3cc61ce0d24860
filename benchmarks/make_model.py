"""A GGUF file of a real model's shape with random weights: how fast it runs does not depend on their values.

    python benchmarks/make_model.py llama-3.2-1b Q4_0 model.gguf --vocab SOME.gguf [--head Q8_0]

The tokenizer is copied from ``--vocab``, any GGUF file of that family. Formats are those that Heron writes; others are made from an
F16 file by llama.cpp's own quantizer. ``--head`` is the format of the embeddings, which the tied head multiplies by too.
"""

from __future__ import annotations

import argparse
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
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 4864, 14, 2, 64, 151936, 1000000.0, True, bias=True),
}


class Random(Tensor):
    """Normal random numbers, of which a few hundred rows are made and taken again and again."""

    TILE = 331  # a prime: neighbouring panels of rows differ

    def __init__(self, shape: tuple[int, int], format: Format, seed: int) -> None:
        self.shape, self.format = shape, format
        values = np.random.default_rng(seed).standard_normal((min(self.TILE, shape[0]), shape[1]), np.float32)
        self._tile = quantize(format, values * shape[1] ** -0.5)

    def rows(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        return self._tile[np.arange(start, self._stop(stop)) % len(self._tile)]


def tensors(shape: Shape, format: Format, head: Format) -> dict[str, Tensor | NDArray[np.float32]]:
    made: dict[str, Tensor | NDArray[np.float32]] = {"token_embd.weight": Random((shape.vocab, shape.hidden), head, 0)}
    for layer in range(shape.layers):
        block = f"blk.{layer}"
        for seed, (name, size) in enumerate(shape.matrices().items()):
            made[f"{block}.{name}.weight"] = Random(size, format, seed)
            if shape.bias and name in ("attn_q", "attn_k", "attn_v"):
                made[f"{block}.{name}.bias"] = np.zeros(size[0], np.float32)
        made[f"{block}.attn_norm.weight"] = made[f"{block}.ffn_norm.weight"] = np.ones(shape.hidden, np.float32)
    made["output_norm.weight"] = np.ones(shape.hidden, np.float32)
    if not shape.tied:
        made["output.weight"] = Random((shape.vocab, shape.hidden), head, 1)
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
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT")
    parser.add_argument("out")
    parser.add_argument("--vocab", required=True)
    parser.add_argument("--head", choices=FORMATS, metavar="FORMAT")
    options = parser.parse_args()
    shape = SHAPES[options.shape]
    metadata = shape.metadata() | {"general.name": f"{options.shape}-random"} | tokenizer(options.vocab, shape.vocab)
    write_gguf(options.out, metadata, tensors(shape, FORMATS[options.format], FORMATS[options.head or options.format]))


if __name__ == "__main__":
    main()
