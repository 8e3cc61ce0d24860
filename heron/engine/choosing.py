"""Chooser: the next tokens of all requests of a step, in one call that holds no lock of the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from heron.compiled import core
from heron.engine.answer import Answer
from heron.engine.sampled import Sampled
from heron.engine.sampler import Mask, NativeSampler, sampled

T = TypeVar("T")


class Chooser:
    """On ``threads`` threads of its own, where the core is compiled. What is chosen depends on neither them nor the others."""

    def __init__(self, threads: int = 1) -> None:
        self._pool = None if core is None else core.SamplerPool(threads)

    def choose(self, answers: Sequence[Answer], logits: NDArray[np.float32], rows: Sequence[int]) -> list[Sampled | Exception]:
        """Of each answer its next token, by its row of logits, float32 [R, vocab]; or what kept it from being chosen."""
        masks = [_tried(answer.mask) for answer in answers]
        asked = [(a, row, mask) for a, row, mask in zip(answers, rows, masks, strict=True) if not isinstance(mask, Exception)]
        chosen = iter(self._chosen(asked, logits))
        return [mask if isinstance(mask, Exception) else next(chosen) for mask in masks]

    def _chosen(self, asked: list[tuple[Answer, int, Mask | None]], logits: NDArray[np.float32]) -> list[Sampled | Exception]:
        cores = [answer.sampler.core for answer, _, _ in asked if isinstance(answer.sampler, NativeSampler)]
        if self._pool is None or len(cores) < len(asked):
            return [_tried(partial(answer.sampler.sample, logits[row], answer.position, mask)) for answer, row, mask in asked]
        rows, positions, masks = [row for _, row, _ in asked], [answer.position for answer, _, _ in asked], [mask for *_, mask in asked]
        return [_tried(partial(sampled, one)) for one in self._pool.sample(cores, np.ascontiguousarray(logits), rows, positions, masks)]


def _tried(call: Callable[[], T]) -> T | Exception:
    try:
        return call()
    except Exception as error:
        return error
