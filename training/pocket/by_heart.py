"""The last of the training: whole replies, by heart, without a change of mind about which reply to give.

What a question asks is learned best in few steps, and what a reply says in many: with 2,400 steps for both few replies are garbled, and
fewer questions are answered rightly than with 1,100 (docs/lab.md). So heads (tokenizer.py) are no longer learned from the questions
here, but from the model as it was before: it has to stay as sure of each (learning without forgetting, Li and Hoiem 2016).
"""

from __future__ import annotations

from copy import deepcopy

import torch
from batches import Batch
from forward import hidden_states
from tokenizer import IGNORED
from torch.nn.functional import cross_entropy, linear
from transformers import LlamaForCausalLM


class ByHeart:
    """The loss of a batch of whole replies. It keeps the model as it is when this is made."""

    def __init__(self, model: LlamaForCausalLM) -> None:
        self._before = deepcopy(model).requires_grad_(False)

    def __call__(self, model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
        counts = batch.targets != IGNORED
        rows, places = torch.arange(len(counts)), counts.int().argmax(1)
        with torch.no_grad():
            heads = _logits(self._before, hidden_states(self._before, batch.ids)[rows, places]).softmax(-1)
        hidden = hidden_states(model, batch.ids)
        counts[rows, places] = False
        of_text = cross_entropy(_logits(model, hidden[counts]), batch.targets[counts])
        return of_text + cross_entropy(_logits(model, hidden[rows, places]), heads)


def _logits(model: LlamaForCausalLM, hidden: torch.Tensor) -> torch.Tensor:
    return linear(hidden, model.lm_head.weight.bfloat16()).float()
