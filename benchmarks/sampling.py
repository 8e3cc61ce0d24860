"""Time to choose one token, the compiled sampler beside its numpy definition.

python benchmarks/sampling.py [--vocab 128256] [--rounds 20]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np

from heron.engine.sampler import NativeSampler, NumpySampler
from heron.engine.sampling import SamplingParams

KINDS = {
    "greedy": {"temperature": 0.0},
    "as shipped": {},
    "temperature alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.0},
    "top-p alone": {"top_k": 0, "min_p": 0.0},
    "typical alone": {"top_k": 0, "top_p": 1.0, "min_p": 0.0, "typical_p": 0.9},
    "mirostat 2": {"mirostat": 2},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vocab", type=int, default=128256)
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    logits = (np.random.default_rng(0).standard_normal(options.vocab) * 3).astype(np.float32)
    for kind, values in KINDS.items():
        samplers = [make(SamplingParams(seed=0, **values)) for make in (NativeSampler, NumpySampler)]
        taken: list[list[float]] = [[], []]
        for position in range(options.rounds):
            for sampler, times in zip(samplers, taken, strict=True):
                start = time.perf_counter()
                sampler.sample(logits, position)
                times.append((time.perf_counter() - start) * 1000)
        native, plain = (f"{statistics.median(t):.2f} ({min(t):.2f} to {max(t):.2f}) ms" for t in taken)
        print(f"{kind:>18}: native {native}, numpy {plain}")


if __name__ == "__main__":
    main()
