"""Plain: what a device needs to know to choose a request's tokens by itself, for requests of which that is enough."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from heron.backends.sampling import Sampling
from heron.engine.rules import Rules
from heron.engine.sampling import SamplingParams

#: The steps that a device takes, in its order.
STEPS = ("top_k", "top_p", "min_p", "temperature")


@dataclass(frozen=True)
class Plain:
    """The fields of ``Sampling`` that stay the same for a whole answer."""

    temperature: float
    top_k: int
    top_p: float
    min_p: float
    seed: int
    sample: int
    barred: tuple[int, ...] = ()

    @staticmethod
    def of(params: SamplingParams, rules: Rules, seed: int, sample: int) -> Plain | None:
        """None where more than this decides: the text so far, a constraint, another order of steps, what is told beside the token."""
        if params.constraint or params.mirostat or params.dynatemp_range or params.min_tokens or params.top_logprobs:
            return None
        if rules.allowed or rules.bias or rules.bad_words:
            return None
        taken = [name for name in params.samplers if not _idle(name, params)]
        if params.greedy:
            return None if {"penalties", "dry"} & set(taken) else Plain(0.0, 0, 1.0, 0.0, seed, sample, rules.barred)
        if taken != [name for name in STEPS if name in taken]:
            return None
        return Plain(
            temperature=params.temperature if "temperature" in taken else 1.0,
            top_k=params.top_k if "top_k" in taken else 0,
            top_p=params.top_p if "top_p" in taken else 1.0,
            min_p=params.min_p if "min_p" in taken else 0.0,
            seed=seed,
            sample=sample,
            barred=rules.barred,
        )


def _idle(name: str, p: SamplingParams) -> bool:
    """Whether a step changes nothing, whatever the logits are."""
    idle = {
        "penalties": p.repeat_last_n == 0 or (p.repeat_penalty == 1 and p.frequency_penalty == 0 and p.presence_penalty == 0),
        "dry": p.dry_multiplier == 0,
        "top_n_sigma": p.top_n_sigma <= 0,
        "top_k": p.top_k == 0,
        "typ_p": p.typical_p == 1,
        "top_p": p.top_p == 1,
        "min_p": p.min_p == 0,
        "xtc": p.xtc_probability == 0,
    }
    return idle.get(name, False)


def sampling(rows: Sequence[tuple[Plain, int]]) -> Sampling:
    """How the tokens of these requests are chosen, at these places in their sequences."""

    def each(name: str, dtype: Any) -> Any:
        return np.array([getattr(plain, name) for plain, _ in rows], dtype)

    barred = np.full((len(rows), max((len(plain.barred) for plain, _ in rows), default=0)), -1, np.int64)
    for row, (plain, _) in zip(barred, rows, strict=True):
        row[: len(plain.barred)] = plain.barred
    return Sampling(
        temperature=each("temperature", np.float64),
        top_k=each("top_k", np.int64),
        top_p=each("top_p", np.float64),
        min_p=each("min_p", np.float64),
        seed=each("seed", np.uint64),
        sample=each("sample", np.int64),
        position=np.array([position for _, position in rows], np.int64),
        barred=barred,
    )
