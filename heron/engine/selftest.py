"""Whether a backend computes here what it should: a small model's answer, held to the reference backend's."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heron.engine.loading import load

#: Tokens that are compared, and that are timed.
COMPARED, TIMED = 8, 64

#: Nats by which a token may be less likely to the reference than its own choice. Activations rounded to int8 move log-probabilities
#: by about a tenth, and so choose otherwise where two tokens are nearly as likely; a kernel that is wrong is off by many nats.
NEAR = 0.5


@dataclass(frozen=True)
class Tested:
    """``text`` of the ``tokens`` that the backend chose; how many nats the least likely of them was ``behind`` the reference's choice.

    ``load_seconds`` of the model on the backend, ``tokens_per_second`` of one sequence.
    """

    text: str
    tokens: list[int]
    behind: float
    load_seconds: float
    tokens_per_second: float

    @property
    def agrees(self) -> bool:
        return self.behind < NEAR  # NaN does not


def self_test(path: Path, backend: str, prompt: str = "What can you do?") -> Tested:
    """Have a chat model answer on the backend, greedily, and ask the reference backend what it thinks of each token.

    Raises HeronError where the model cannot be opened, or the backend is not here.
    """
    model = load(path, backend=backend)
    asked = model.encode([{"role": "user", "content": prompt}])
    answer = model.generate(asked, max_tokens=COMPARED, temperature=0, ignore_eos=True)
    begin = time.perf_counter()
    model.generate(asked, max_tokens=TIMED, temperature=0, ignore_eos=True)
    speed = TIMED / (time.perf_counter() - begin)
    load_seconds = model.load_seconds
    model.close()
    reference = load(path, backend="reference")
    logits = reference.logits(asked + answer.tokens[:-1], begin=len(asked) - 1)
    reference.close()
    behind = logits.max(axis=-1) - logits[np.arange(len(answer.tokens)), answer.tokens]
    return Tested(answer.text, answer.tokens, float(behind.max()), load_seconds, speed)
