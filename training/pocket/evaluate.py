"""Asks a trained model questions, and counts the answers that name what they have to."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from fact import Fact
from tokenizer import END, Vocabulary

MAX_ANSWER_TOKENS = 90
OPENING = 40  # characters that tell two replies apart


@dataclass(frozen=True)
class Answer:
    question: str
    names: tuple[str, ...]  # all have to be in the text
    text: str

    @property
    def right(self) -> bool:
        return all(holds(self.text, name) for name in self.names)


def holds(text: str, name: str) -> bool:
    """``name`` may be alternatives with "|" between them; flags are whole words."""
    return any(re.search(rf"(?<![\w-]){one}(?![\w-])" if one[0] == "-" else re.escape(one), text) for one in name.split("|"))


def evaluate(model: Any, vocabulary: Vocabulary, questions: Path) -> list[Answer]:
    """Greedy answers of a transformers model to a file of questions."""
    entries = json.loads(questions.read_text())["questions"]
    return [Answer(entry["ask"], tuple(entry["names"]), answer(model, vocabulary, entry["ask"])) for entry in entries]


def validate(model: Any, vocabulary: Vocabulary, left_out: Sequence[tuple[str, Fact]]) -> list[Answer]:
    """Answers to questions that were left out of the training; right with the opening of their fact's reply."""
    return [Answer(ask, (fact.reply[:OPENING].partition("|")[0],), answer(model, vocabulary, ask, OPENING // 2)) for ask, fact in left_out]


@torch.inference_mode()
def answer(model: Any, vocabulary: Vocabulary, question: str, most: int = MAX_ANSWER_TOKENS) -> str:
    prompt = vocabulary.prompt([{"role": "user", "content": question}])
    end = vocabulary.end
    ids = model.generate(torch.tensor([prompt]), max_new_tokens=most, do_sample=False, eos_token_id=end, pad_token_id=end)
    return vocabulary.decode(ids[0, len(prompt) :].tolist()).removesuffix(END)
