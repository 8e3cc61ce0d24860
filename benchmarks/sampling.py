"""Time to choose the tokens of a step, the compiled sampler on one thread and more, beside its numpy definition for one token.

python benchmarks/sampling.py [--vocab 128256] [--rows 32] [--threads 2] [--rounds 10]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from heron import _core
from heron.engine.rules import Rules
from heron.engine.sampler import NativeSampler, NumpySampler
from heron.engine.sampling import SamplingParams

KINDS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "as shipped": {},
    "penalties": {"repeat_penalty": 1.1, "frequency_penalty": 0.2},
    "DRY": {"dry_multiplier": 0.8},
    "20 logprobs": {"top_logprobs": 20},
    "masked": {},
    "top-n-sigma alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "top_n_sigma": 1.0},
    "temperature alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.0},
    "top-p alone": {"top_k": 0, "min_p": 0.0},
    "typical alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 0.9},
    "mirostat 2": {"mirostat": 2},
}


def milliseconds(call: Callable[[], object], rounds: int) -> str:
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append((time.perf_counter() - start) * 1000)
    return f"{statistics.median(taken):7.2f} ({min(taken):6.2f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128256)
    parser.add_argument("--rows", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    logits = (rng.standard_normal((options.rows, options.vocab)) * 3).astype(np.float32)
    half = np.packbits(rng.random(options.vocab + 31 & ~31) < 0.5, bitorder="little").view(np.uint32)
    history = rng.integers(0, options.vocab, 1000).tolist()
    rows = list(range(options.rows))
    pools = _core.SamplerPool(1), _core.SamplerPool(options.threads)
    print(f"{options.rows} rows of {options.vocab}: median (least) milliseconds of {options.rounds}")
    for kind, values in KINDS.items():
        masks = [half if kind == "masked" else None] * options.rows
        params = [SamplingParams(seed=row, **values) for row in rows]
        samplers = [NativeSampler(p, 0, Rules()) for p in params]
        plain = NumpySampler(params[0])
        for sampler in [*samplers, plain]:
            sampler.accept(history)
        cores = [sampler.core for sampler in samplers]
        given = cores, logits, rows, [1000] * options.rows, masks
        one, more = (milliseconds(partial(pool.sample, *given), options.rounds) for pool in pools)
        alone = milliseconds(partial(plain.sample, logits[0], 1000, masks[0]), 3)
        print(f"{kind:>18}: 1 thread {one}, {options.threads} threads {more}, numpy, one row {alone}")


if __name__ == "__main__":
    main()
