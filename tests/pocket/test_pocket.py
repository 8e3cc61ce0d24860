"""The model that ships with Heron: small, readable, and made by its script. test_pocket_knows.py asks what it knows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import heron
from heron import pocket
from heron.text.chat import ChatTemplate

TRAINING = Path(__file__).resolve().parents[2] / "training/pocket"


def training_dialogues(count: int, seed: int) -> list[list[dict[str, str]]]:
    command = [sys.executable, str(TRAINING / "dialogues.py"), "--count", str(count), "--seed", str(seed)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return [json.loads(line) for line in lines]


@pytest.fixture(scope="module")
def model() -> Any:
    return heron.load(pocket.path())


def test_file_is_small() -> None:
    assert pocket.path().stat().st_size <= 6_000_000


def test_file_is_a_llama_in_q8_0() -> None:
    with heron.Checkpoint(pocket.path()) as checkpoint:
        assert checkpoint.architecture == "llama"
        for name, tensor in checkpoint.tensors.items():
            assert tensor.format.name == ("F32" if name.endswith("norm.weight") else "Q8_0"), name


def test_tokenizer_is_chatml() -> None:
    tokenizer = heron.Tokenizer.from_file(pocket.path())
    rendered = ChatTemplate.from_tokenizer(tokenizer).render([{"role": "user", "content": "Hello"}])
    assert rendered == "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    ids = tokenizer.encode(rendered, add_special=False, parse_special=True)
    start, end = (tokenizer.encode(name, add_special=False, parse_special=True) for name in ("<|im_start|>", "<|im_end|>"))
    assert len(start) == len(end) == 1
    assert ids.count(start[0]) == 2 and ids.count(end[0]) == 1
    assert end[0] in tokenizer.eos_ids
    assert tokenizer.decode(tokenizer.encode("`heron run -t 0` — naïve 模型", add_special=False)) == "`heron run -t 0` — naïve 模型"


def test_answers_end(model: Any) -> None:
    """As `make run` asks, with the sampling that users get: the answer is whole, and it ends by itself."""
    answer = model.generate([{"role": "user", "content": "What can you do?"}], seed=1, max_tokens=200)
    assert answer.finish_reason == "stop"
    assert "heron run" in answer.text and "heron info" in answer.text


def test_dialogues_are_the_same_for_the_same_seed() -> None:
    assert training_dialogues(100, 5) == training_dialogues(100, 5) != training_dialogues(100, 6)
