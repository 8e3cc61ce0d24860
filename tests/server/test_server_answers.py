"""Pieces to text and tokens that may be sent: what is held back is held back together."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from heron.engine.generation import Piece
from heron.server.answers import Choice
from heron.server.logprobs import LEAST, Offsets, chat_logprobs, legacy_logprobs
from heron.text.tokenizer import Tokenizer


def choice(stop_string: str | None = None) -> Choice:
    request: Any = SimpleNamespace(answer=SimpleNamespace(stop_string=stop_string))
    asked: Any = SimpleNamespace(sample=0)
    return Choice(0, asked, request)


def pieces(*texts: str) -> list[Piece]:
    return [Piece(text, id, -0.5) for id, text in enumerate(texts)]


def told(of: Choice, given: list[Piece]) -> list[tuple[str, list[int]]]:
    deltas = [of.push(piece) for piece in given] + [of.finish()]
    return [(delta.text, [piece.token for piece in delta.pieces]) for delta in deltas if delta.text or delta.pieces]


def test_a_characters_tokens_come_with_it() -> None:
    assert told(choice(), pieces("a", "", "", "🦊", "b")) == [("a", [0]), ("🦊", [1, 2, 3]), ("b", [4])]


def test_tokens_without_text_come_at_the_end() -> None:
    assert told(choice(), pieces("a", "", "")) == [("a", [0]), ("", [1, 2])]


def test_a_stop_strings_tokens_never_come() -> None:
    assert told(choice("stop"), pieces("a", "b", "", "")) == [("a", [0]), ("b", [1])]


def test_what_seemed_to_be_a_stop_string_comes_late() -> None:
    assert told(choice(), pieces("a", "", "sto")) == [("a", [0]), ("sto", [1, 2])]


def test_the_token_that_ends_an_answer_is_no_part_of_it() -> None:
    one = choice()
    assert told(one, [*pieces("a", ""), Piece("b", 9, -1.0, ends=True)]) == [("a", [0]), ("b", [1])]
    assert one.end is not None and one.end.token == 9
    assert (one.whole, [piece.token for piece in one.pieces]) == ("ab", [0, 1])


@pytest.fixture(scope="module")
def tokenizer(shared: Any) -> Tokenizer:
    return Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf")


def test_offsets_are_places_in_the_text(tokenizer: Tokenizer) -> None:
    text = "Once upon a 🦊, she saw."
    ids = tokenizer.encode(text)
    offsets = Offsets(tokenizer, continues=False)
    found = [offsets.push(id) for id in ids]
    assert found[0] == 0 and ids[0] == tokenizer.bos
    for at, id in zip(found, ids, strict=True):
        piece = tokenizer.token_bytes(id).decode("utf-8", "ignore").lstrip()
        if piece and not tokenizer.is_special(id):
            assert text[at:].lstrip().startswith(piece)


def test_of_tokens_that_look_alike_the_likelier_is_told(tokenizer: Tokenizer) -> None:
    bytes_ = [id for id in range(tokenizer.vocab_size) if tokenizer.token_bytes(id)[:1] >= b"\x80"][:2]
    piece = Piece("", bytes_[1], -3.0, ((bytes_[0], -0.5), (bytes_[1], -3.0)))
    found = legacy_logprobs(tokenizer, [7, piece], Offsets(tokenizer, continues=True), 1)
    assert found["top_logprobs"] == [None, {"�": -0.5}]
    assert found["token_logprobs"] == [None, -3.0]


def test_what_cannot_be_is_a_number(tokenizer: Tokenizer) -> None:
    piece = Piece("", 5, -0.1, ((5, -0.1), (6, float("-inf"))))
    (entry,) = chat_logprobs(tokenizer, [piece])["content"]
    assert entry["top_logprobs"][1]["logprob"] == LEAST
