"""What choosing a token gives, and why it may not."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from heron.engine.logprobs import Top
from heron.engine.sampling import SamplingParams

NOT_FINITE = "the model computed no finite logit, or one that is not a number; its weights may be damaged"
NONE_ALLOWED = "no token may come next: what allows tokens (allowed_token_ids, bad_words, logit_bias, a constraint) leaves none"


@dataclass(frozen=True)
class Sampled:
    """A token and its log-probability under the model's own distribution, before any step changed it.

    ``top`` are the likeliest tokens and theirs, falling, as many as ``top_logprobs`` asks for.
    """

    token: int
    logprob: float
    top: Top = ()


def seeded(params: SamplingParams) -> SamplingParams:
    """With a seed of their own, where they have none."""
    return params if params.seed is not None else replace(params, seed=int.from_bytes(os.urandom(8), "little"))
