"""Asks a trained model the held-out questions, and counts the answers that name what they have to."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from dialogues import QUESTIONS
from tokenizer import END, encode_prompt
from tokenizers import Tokenizer

MAX_ANSWER_TOKENS = 90


@dataclass(frozen=True)
class Answer:
    question: str
    names: tuple[str, ...]  # all have to be in the text
    text: str

    @property
    def right(self) -> bool:
        return all(name in self.text for name in self.names)


def evaluate(model: Any, tokenizer: Tokenizer, questions: str) -> list[Answer]:
    """Greedy answers of a transformers model to a set of questions.json."""
    entries = json.loads(QUESTIONS.read_text())[questions]
    return [Answer(entry["ask"], tuple(entry["names"]), answer(model, tokenizer, entry["ask"])) for entry in entries]


@torch.inference_mode()
def answer(model: Any, tokenizer: Tokenizer, question: str) -> str:
    prompt = encode_prompt(tokenizer, [{"role": "user", "content": question}])
    end = tokenizer.token_to_id(END)
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=MAX_ANSWER_TOKENS, do_sample=False, eos_token_id=end, pad_token_id=end)
    text: str = tokenizer.decode(ids[0, len(prompt) :].tolist())
    return text
