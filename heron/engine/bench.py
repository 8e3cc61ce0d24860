"""How fast a loaded model reads prompts and decodes, as a server would have it do: ragged steps, one row of logits a sequence."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from heron.backends.batch import Batch
from heron.engine import processor
from heron.engine.cache import Cache, Sequence, next_step, reading_step, units_for
from heron.engine.memory import demands
from heron.engine.model import PREFILL_CHUNK, Model
from heron.errors import RequestError


@dataclass
class Speed:
    """Tokens per second of all ``batch`` sequences together, once a repetition.

    ``tokens`` of each sequence were computed: for ``prefill`` from nothing, for ``decode`` one by one after ``context`` others.
    """

    kind: str
    tokens: int
    batch: int
    context: int
    each: list[float] = field(default_factory=list)

    def facts(self) -> dict[str, Any]:
        speeds = {"tokens_per_second": median(self.each), "min": min(self.each), "max": max(self.each)}
        return {"kind": self.kind, "tokens": self.tokens, "batch": self.batch, "context": self.context, **speeds}


class Bench:
    """Times steps of a model, whose cache it takes for itself, with up to ``batch`` sequences of up to ``context`` tokens."""

    def __init__(self, model: Model, context: int, batch: int, seed: int = 0) -> None:
        self._model, self._executable = model, model.executable
        self._executable.wait()
        self._vocab = model.graph_model.vocab_size
        self._reads = "encode" in model.graph_model.entries  # an encoder has the prompt
        self._random = np.random.default_rng(seed)
        if context > model.context_length:
            room = model.context_length
            raise RequestError(f"prompt and generated tokens are {context} together, the context holds {room}; ask for a larger --ctx-size")
        groups = self._executable.state_groups
        self._units = {g.name: 1 + batch * (units_for(g, context, PREFILL_CHUNK) - 1) for g in groups}
        for demand in demands(self._executable.memories, self._units):
            if demand.need > demand.have:
                need, have = demand.need / 2**30, demand.have / 2**30
                raise RequestError(f"{batch} sequences of {context} tokens need {need:.1f} GiB of cache and {have:.1f} GiB are free")
        self._executable.allocate(self._units)

    def warm(self) -> None:
        """A short prompt and a token, not timed: what is lowered or paged in at its first use."""
        self._once(4, 0 if self._model.is_encoder else 1, 1)

    def measure(self, prompt: int, generate: SequenceOf[int], batch: int, repetitions: int, done: Callable[[], Any]) -> list[Speed]:
        """``batch`` prompts of ``prompt`` tokens, then as many tokens after each as ``generate`` says. 0 measures nothing.

        ``done`` is called after each repetition.
        """
        counts = sorted({n for n in generate if n and not self._model.is_encoder})
        prefill = [Speed("prefill", prompt, batch, 0)] if prompt else []
        decode = [Speed("decode", n, batch, prompt) for n in counts]
        for _ in range(repetitions):
            read, steps = self._once(prompt, max(counts, default=0), batch)
            for speed in prefill:
                speed.each.append(prompt * batch / read)
            for speed in decode:
                speed.each.append(speed.tokens * batch / sum(steps[: speed.tokens]))
            done()
        return prefill + decode

    def _once(self, prompt: int, generate: int, batch: int) -> tuple[float, list[float]]:
        """Seconds of the prefill, and of each step of the decode."""
        cache = Cache(self._executable.state_groups, self._units)
        sequences = [Sequence(cache) for _ in range(batch)]
        prompts = self._tokens(batch, prompt)
        begin = time.perf_counter()
        for step in self._prefill(sequences, prompts) if prompt else ():
            self._run(step, "encode" if self._reads else "forward")
        read = time.perf_counter() - begin
        steps = []
        for tokens in self._tokens(generate, batch):
            begin = time.perf_counter()
            self._run(next_step([(sequence, [token], (0,)) for sequence, token in zip(sequences, tokens, strict=True)]))
            steps.append(time.perf_counter() - begin)
        return read, steps

    def _tokens(self, count: int, length: int) -> list[list[int]]:
        tokens: list[list[int]] = self._random.integers(0, self._vocab, (count, length)).tolist()
        return tokens

    def _run(self, step: Batch, entry: str = "forward") -> None:
        self._executable.run(entry, step, ("hidden",) if entry == "encode" else ("logits",))

    def _prefill(self, sequences: Iterable[Sequence], prompts: Iterable[list[int]]) -> Iterator[Batch]:
        """The steps that read the prompts, of up to PREFILL_CHUNK tokens; an encoder reads each of its prompts at once."""
        parts: list[tuple[Sequence, list[int], tuple[int, ...]]] = []
        for sequence, prompt in zip(sequences, prompts, strict=True):
            size = len(prompt) if self._reads else PREFILL_CHUNK
            for at in range(0, len(prompt), size):
                chunk = prompt[at : at + size]
                if parts and sum(len(tokens) for _, tokens, _ in parts) + len(chunk) > PREFILL_CHUNK:
                    yield self._step(parts)
                    parts = []
                ends = at + len(chunk) == len(prompt)
                parts.append((sequence, chunk, (len(chunk) - 1,) if ends else ()))
        yield self._step(parts)

    def _step(self, parts: SequenceOf[tuple[Sequence, list[int], tuple[int, ...]]]) -> Batch:
        return reading_step([(sequence, tokens) for sequence, tokens, _ in parts]) if self._reads else next_step(parts)


def machine() -> dict[str, Any]:
    """What the figures were taken on."""
    return {"cpu": processor.name(), "system": platform.system(), "architecture": platform.machine(), "python": platform.python_version()}
