"""Dialogues as batches of token ids, and what the model is to learn of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from dialogues import dialogues
from fact import Fact
from tokenizer import IGNORED, Vocabulary

BATCH = 64  # dialogues
POOL = 32  # batches whose dialogues are sorted by length together, so that little is padding
MAX_TOKENS = 192  # of a dialogue; longer ones are left out
HEADS = 0.6  # share of the dialogues of which only the head of the reply is learned: it takes longest


class Batch(NamedTuple):
    """Dialogues. Padding comes last, so that no real token attends to it."""

    ids: torch.Tensor  # int64 [BATCH, longest]
    targets: torch.Tensor  # int64 [BATCH, longest]: the next id where the assistant speaks, else IGNORED


def batches(vocabulary: Vocabulary, seed: int, facts: Sequence[Fact], heads: float = HEADS) -> Iterator[Batch]:
    """Batches without end; of a share of ``heads`` of the dialogues only the head of the reply."""
    rng, stream = random.Random(seed), dialogues(seed, facts)
    while True:
        encoded = (vocabulary.dialogue(messages) for messages in stream)
        whole = islice((pair for pair in encoded if len(pair[0]) <= MAX_TOKENS), BATCH * POOL)
        pool = sorted((to_the_head(*pair) if rng.random() < heads else pair for pair in whole), key=lambda pair: len(pair[0]))
        groups = [pool[start : start + BATCH] for start in range(0, len(pool), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(ids) for ids, _ in group)
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in group])
            targets = torch.tensor([targets + [IGNORED] * (longest - len(targets)) for _, targets in group])
            yield Batch(ids, targets)


def to_the_head(ids: list[int], targets: list[int]) -> tuple[list[int], list[int]]:
    """The dialogue up to where the reply's first token is to be said."""
    end = next(place for place, target in enumerate(targets) if target != IGNORED) + 1
    return ids[:end], targets[:end]
