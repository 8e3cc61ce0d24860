"""One engine, loaded once in a process of its own, that is told what to time: a line of JSON in, a line of JSON out.

    python benchmarks/worker.py heron MODEL --threads 2
    python benchmarks/worker.py llama.cpp MODEL --threads 2        (needs llama-cpp-python)

Requests: ``{"prompt": P, "generate": G}``, P tokens in one prefill from an empty cache, then G tokens one by one after
them. Answers: ``{"prefill": seconds, "decode": seconds}``; the first line says ``{"ready": seconds to load}``.
Between requests the process sleeps, so that engines can take turns on a machine.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

CONTEXT = 2048
Step = Callable[[list[int], bool], None]


def heron(path: str, threads: int) -> tuple[int, Callable[[], Step]]:
    """The vocabulary's size, and what begins an empty cache and gives its step: tokens in, logits of the last, or none."""
    from heron.backends import native
    from heron.backends.base import Options
    from heron.checkpoint.checkpoint import Checkpoint
    from heron.engine.cache import Cache, Sequence, last_row, units_for
    from heron.models.registry import build_model

    model = build_model(Checkpoint(path))
    executable = native.prepare(model, options=Options(threads=threads))
    units = {group.name: units_for(group, CONTEXT, CONTEXT) for group in executable.state_groups}
    executable.allocate(units)

    def begin() -> Step:
        sequence = Sequence(Cache(executable.state_groups, units))

        def step(tokens: list[int], wanted: bool) -> None:
            executable.run("forward", sequence.append(tokens, last_row(tokens) if wanted else []))

        return step

    return model.vocab_size, begin


def llama_cpp(path: str, threads: int) -> tuple[int, Callable[[], Step]]:
    import llama_cpp as peer

    quiet = peer.llama_log_callback(lambda level, text, data: None)
    peer.llama_log_set(quiet, ctypes.c_void_p(0))
    peer.llama_backend_init()
    model = peer.llama_model_load_from_file(path.encode(), peer.llama_model_default_params())
    params = peer.llama_context_default_params()
    params.n_ctx = params.n_batch = CONTEXT
    params.n_ubatch = 512
    params.n_threads = params.n_threads_batch = threads
    context = peer.llama_init_from_model(model, params)
    keep = (quiet,)  # the library calls it for as long as the process lives

    def begin() -> Step:
        peer.llama_memory_clear(peer.llama_get_memory(context), True)

        at = 0

        def step(tokens: list[int], wanted: bool) -> None:
            nonlocal at
            batch = peer.llama_batch_init(len(tokens), 0, 1)
            batch.n_tokens = len(tokens)
            for i, token in enumerate(tokens):
                batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, at + i, 1, 0
                batch.logits[i] = wanted and i == len(tokens) - 1
            code = peer.llama_decode(context, batch)
            peer.llama_batch_free(batch)
            assert code == 0 and keep, f"llama_decode returned {code}"
            at += len(tokens)

        return step

    return peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(model)), begin


ENGINES = {"heron": heron, "llama.cpp": llama_cpp}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever an engine prints goes to stderr, and answers stay lines of JSON
    start = time.perf_counter()
    vocab, begin = ENGINES[options.engine](options.model, options.threads)
    print(json.dumps({"ready": time.perf_counter() - start}), file=answers, flush=True)
    rng = np.random.default_rng(0)
    for line in sys.stdin:
        asked = json.loads(line)
        step, times = begin(), []
        prompt = rng.integers(3, vocab, asked["prompt"]).tolist()
        for parts in ([prompt], [[token] for token in rng.integers(3, vocab, asked["generate"]).tolist()]):
            start = time.perf_counter()
            for tokens in parts:
                step(tokens, True)
            times.append(time.perf_counter() - start)
        print(json.dumps({"prefill": times[0], "decode": times[1]}), file=answers, flush=True)


if __name__ == "__main__":
    main()
