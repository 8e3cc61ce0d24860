"""Dialogues as batches of token ids, and what the model is to learn of them."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import torch
from dialogues import Message, dialogues
from fact import Fact
from tokenizer import IGNORED, encode_dialogue
from tokenizers import Tokenizer

BATCH = 64  # dialogues
POOL = 32  # batches whose dialogues are sorted by length together, so that little is padding
MAX_TOKENS = 160  # of a dialogue; longer ones are left out
OPENING_TOKENS = 10


class Batch(NamedTuple):
    """Dialogues. Padding comes last, so that no real token attends to it."""

    ids: torch.Tensor  # int64 [BATCH, longest]
    targets: torch.Tensor  # int64 [BATCH, longest]: the next id where the assistant speaks, else IGNORED
    facts: torch.Tensor  # int64 [BATCH, longest]: the number of the reply at the last token before it, else IGNORED


def batches(tokenizer: Tokenizer, seed: int, facts: Sequence[Fact], replies: Mapping[str, int], openings: float) -> Iterator[Batch]:
    """Batches without end. Of the share `openings` of the dialogues of one turn, all up to the opening of the reply."""
    rng, stream = random.Random(seed), dialogues(seed, facts)
    while True:
        encoded = (example(rng, tokenizer, messages, replies, openings) for messages in stream)
        pool = sorted(islice((lists for lists in encoded if len(lists[0]) <= MAX_TOKENS), BATCH * POOL), key=lambda lists: len(lists[0]))
        groups = [pool[start : start + BATCH] for start in range(0, len(pool), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(lists[0]) for lists in group)
            yield Batch(
                *(
                    torch.tensor([lists[kind] + [padding] * (longest - len(lists[kind])) for lists in group])
                    for kind, padding in enumerate((0, IGNORED, IGNORED))
                )
            )


def example(
    rng: random.Random, tokenizer: Tokenizer, messages: list[Message], replies: Mapping[str, int], openings: float
) -> tuple[list[int], ...]:
    """Ids, targets and facts of a dialogue, or of its beginning."""
    ids, targets = encode_dialogue(tokenizer, messages)
    spoken = [place for place, target in enumerate(targets) if target != IGNORED]
    begins = [place for place in spoken if place - 1 not in spoken]
    said = [message["content"] for message in messages if message["role"] == "assistant"]
    facts = [IGNORED] * len(ids)
    for place, reply in zip(begins, said, strict=True):
        facts[place] = replies.get(reply, IGNORED)
    end = begins[0] + OPENING_TOKENS if len(begins) == 1 and rng.random() < openings else len(ids)
    return ids[:end], targets[:end], facts[:end]
