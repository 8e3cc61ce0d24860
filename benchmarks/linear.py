"""Products with packed weights beside the machine's limits, for the matrices of Llama-3.2-1B, by format.

    python benchmarks/linear.py [--threads 2] [--formats Q4_0,Q8_0] [--tokens 1,512] [--isa avx512] [--rounds 5]

Few tokens are measured in bytes of weights per second, beside what the same threads read from memory; many tokens in
multiply-adds per second, beside the int8 (or f32) peak. Limits and products alternate, round by round; figures are
medians, with the least and the most.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from heron import _core
from heron.quant.formats import FORMATS, Format

LAYERS = 16
# Rows and columns of a layer's matrices: q and o, k and v, gate and up, down. All layers together are read from memory, not from a cache.
MATRICES = ((4096, 2048), (1024, 2048), (16384, 2048), (2048, 8192))
PLAIN = ("F32", "F16", "BF16")


def packed(fmt: Format, isa: str, rows: int, columns: int) -> _core.Packed:
    """A matrix a layer of random numbers, all of bytes that make normal, small floats and halves."""
    rng = np.random.default_rng(0)
    raw = rng.integers(32, 60, (rows, fmt.row_bytes(columns)), dtype=np.uint8)
    matrices = _core.Packed(fmt.id, isa, rows, columns, LAYERS)
    for layer in range(LAYERS):
        matrices.pack(layer * rows, raw)
    return matrices


def seconds(weights: list[_core.Packed], tokens: int, activations: str, threads: int) -> float:
    total = 0.0
    for matrices in weights:
        x = np.random.default_rng(1).standard_normal((tokens, matrices.shape[2])).astype(np.float32)
        start = time.perf_counter()
        matrices.linear(x, activations=activations, threads=threads, repeat=LAYERS)
        total += time.perf_counter() - start
    return total


def shown(values: list[float]) -> str:
    return f"{statistics.median(values):7.1f} ({min(values):.1f} to {max(values):.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--formats", default="Q4_0,Q4_K,Q6_K,Q8_0,F16,BF16,F32")
    parser.add_argument("--tokens", default="1,4,8,512")
    parser.add_argument("--isa", default=_core.instruction_sets()[-1])
    parser.add_argument("--activations", default="int8", choices=("int8", "f32"))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.isa}, {options.threads} threads, activations {options.activations}")
    for name in options.formats.split(","):
        weights = [packed(FORMATS[name], options.isa, rows, columns) for rows, columns in MATRICES]
        nbytes = sum(w.nbytes for w in weights)
        elements = LAYERS * sum(rows * columns for rows, columns in MATRICES)
        peak = "f32" if name in PLAIN or options.activations == "f32" else "int8"
        for tokens in map(int, options.tokens.split(",")):
            few = tokens <= 8
            reached: list[float] = []
            limits: list[float] = []
            for _ in range(options.rounds):
                limit = _core.machine_limits(options.isa, options.threads)
                taken = seconds(weights, tokens, options.activations, options.threads)
                reached.append((nbytes if few else elements * tokens) / taken / 1e9)
                limits.append(limit["read" if few else peak] / 1e9)
            ratio = statistics.median(r / limit for r, limit in zip(reached, limits, strict=True))
            unit = "GB/s of weights" if few else f"G {peak} multiply-adds/s"
            print(f"{name:5} {tokens:4} tokens: {shown(reached)} {unit}, limit {shown(limits)}, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
