"""Quantizers beside llama.cpp's own, by format: nanoseconds a number, and the error that is left, on rows of Llama-3.2-1B's width.

    python benchmarks/quantize.py [--formats Q4_K,Q6_K] [--rows 256] [--threads 2] [--rounds 5] [--alike]

Numbers are Laplace distributed, as weights about are; importance is some thousand times as large in some columns as in
others, or --alike. Both use as many threads, and alternate, round by round; times are the least of all rounds. An error is the
sum of importance times squares. The last line puts Q4_K and Q6_K together as Q4_K_M of that model has them. llama.cpp's
quantizer is that which llama-cpp-python brings.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, Format
from heron.quant.quantize import quantize

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "quant"))
import ggml_quantizer as peer

COLUMNS = 2048
FEW_BITS = "Q2_K,Q3_K,Q4_K,Q5_K,Q6_K,IQ4_NL,IQ4_XS,IQ3_S,IQ3_XXS,IQ2_S,IQ2_XS,IQ2_XXS,IQ1_M,IQ1_S"
#: Numbers of the model that Q4_K_M stores as each: embeddings, and half of the layers' values and downs, are Q6_K.
Q4_K_M = {"Q4_K": 830.4e6, "Q6_K": 405.3e6}

Numbers = NDArray[np.float32]
Blocks = NDArray[np.uint8]


def theirs(fmt: Format, x: Numbers, importance: Numbers | None, pool: ThreadPoolExecutor, threads: int) -> Blocks:
    return np.concatenate(list(pool.map(lambda rows: peer.quantize(fmt, rows, importance), np.array_split(x, threads))))


def seconds(call: Callable[[], Blocks]) -> tuple[float, Blocks]:
    start = time.perf_counter()
    raw = call()
    return time.perf_counter() - start, raw


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--formats", default=FEW_BITS)
    parser.add_argument("--rows", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--alike", action="store_true", help="no importance")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    x = (rng.laplace(size=(options.rows, COLUMNS)) * 0.02).astype(np.float32)
    importance = None if options.alike else rng.chisquare(1, COLUMNS).astype(np.float32) + np.float32(0.001)
    weights = np.ones(COLUMNS) if importance is None else importance.astype(np.float64)
    least: dict[str, list[float]] = {}
    pool = ThreadPoolExecutor(options.threads)
    print(f"{options.threads} threads, {'no' if options.alike else 'with'} importance\n")
    print("| format | ns a number | llama.cpp | times as fast | its error |\n|---|---|---|---|---|")
    for name in options.formats.split(","):
        fmt = FORMATS[name]
        if options.alike and name in peer.NEEDS_IMPORTANCE:
            continue
        quantize(fmt, x[:1], importance), peer.quantize(fmt, x[:1], importance)  # tables are made
        taken: list[list[float]] = [[], []]
        off = [0.0, 0.0]
        for _ in range(options.rounds):
            calls = partial(quantize, fmt, x, importance, options.threads), partial(theirs, fmt, x, importance, pool, options.threads)
            for i, call in enumerate(calls):
                spent, raw = seconds(call)
                taken[i].append(spent)
                off[i] = float((weights * (dequantize(fmt, raw) - x.astype(np.float64)) ** 2).sum())
        least[name] = [min(times) / x.size * 1e9 for times in taken]
        ours, peers = least[name]
        print(f"| {name} | {ours:.1f} | {peers:.1f} | {peers / ours:.1f} | {off[0] / off[1]:.3f} |", flush=True)
    if set(Q4_K_M) <= set(least):
        whole = [sum(Q4_K_M[name] * least[name][i] for name in Q4_K_M) / 1e9 for i in range(2)]
        print(f"\nQ4_K_M of Llama-3.2-1B: {whole[0]:.1f} s, llama.cpp {whole[1]:.1f} s: {whole[1] / whole[0]:.1f} times as fast")


if __name__ == "__main__":
    main()
