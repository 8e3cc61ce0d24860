"""One engine in a process of its own that is told what to time: a line of JSON in, a line of JSON out.

    python benchmarks/worker.py heron MODEL --threads 2
    python benchmarks/worker.py llama.cpp MODEL --threads 2        (needs llama-cpp-python)

Requests: ``{"prompt": P, "generate": G, "sequences": S, "keep": false}``: S prompts of P random tokens, then G more tokens of
each, one step after another; from empty caches, or after what they ``keep`` of the last request. Answers: ``{"prefill": seconds,
"decode": seconds}``. The first line comes when the model is loaded, and has read a prompt of ``--first`` tokens. Between requests
the process sleeps, so that engines can take turns on a machine.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

from engines import ENGINES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--context", type=int, default=2048, help="tokens of a sequence")
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an engine prints goes to stderr, and answers stay lines of JSON
    start = time.perf_counter()
    engine = ENGINES[options.engine](options.model, options.threads, options.context, options.sequences)
    ready = time.perf_counter() - start
    if options.first:
        engine.read([list(range(3, 3 + options.first))])
    else:
        engine.settle()
    print(json.dumps({"ready": ready, "imports": engine.imports, "kv_bytes": engine.kv_bytes}), file=answers, flush=True)
    engine.settle()

    import numpy as np

    rng = np.random.default_rng(0)
    for line in sys.stdin:
        asked = json.loads(line)
        sequences = asked["sequences"]
        if not asked["keep"]:
            engine.begin()
        prompts = rng.integers(3, engine.vocab, (sequences, asked["prompt"])).tolist()
        steps = [list(enumerate(row)) for row in rng.integers(3, engine.vocab, (asked["generate"], sequences)).tolist()]
        start = time.perf_counter()
        if asked["prompt"]:
            engine.read(prompts)
        between = time.perf_counter()
        for step in steps:
            engine.step([(number, [token], True) for number, token in step])
        print(json.dumps({"prefill": between - start, "decode": time.perf_counter() - between}), file=answers, flush=True)


if __name__ == "__main__":
    main()
