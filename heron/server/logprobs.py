"""Log-probabilities as each API writes them down."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from heron.engine.generation import Piece
from heron.engine.logprobs import PromptScores, Scored, Top
from heron.text.stream import Detokenizer
from heron.text.tokenizer import Tokenizer

#: What stands for a token that cannot be, since JSON has no infinity.
LEAST = -9999.0

Told = Piece | Scored


def text_of(tokenizer: Tokenizer, id: int) -> str:
    """A token's text; bytes that are no whole character become U+FFFD."""
    return tokenizer.token_bytes(id).decode("utf-8", "replace")


def _top(told: Told) -> Top:
    return told.top if isinstance(told, Scored) else told.top_logprobs


def _entry(tokenizer: Tokenizer, id: int, logprob: float) -> dict[str, Any]:
    return {"token": text_of(tokenizer, id), "logprob": max(logprob, LEAST), "bytes": list(tokenizer.token_bytes(id))}


def chat_logprobs(tokenizer: Tokenizer, pieces: Iterable[Piece]) -> dict[str, Any]:
    """As in ``choices[].logprobs`` of chat completions."""
    content = [
        _entry(tokenizer, piece.token, piece.logprob)
        | {"top_logprobs": [_entry(tokenizer, id, logprob) for id, logprob in piece.top_logprobs]}
        for piece in pieces
    ]
    return {"content": content, "refusal": None}


class Offsets:
    """Where in a text each of its tokens begins. ``continues``: other text stands before it."""

    def __init__(self, tokenizer: Tokenizer, continues: bool) -> None:
        self._detokenizer, self._at = Detokenizer(tokenizer, skip_special=True, continues=continues), 0

    def push(self, id: int) -> int:
        at = self._at
        self._at += len(self._detokenizer.push(id))
        return at


def legacy_logprobs(tokenizer: Tokenizer, tokens: Iterable[Told | int], offsets: Offsets, top: int) -> dict[str, Any]:
    """As in ``choices[].logprobs`` of completions. A token of which the model says nothing, a prompt's first, is its id alone.

    The token itself is beside the ``top`` likeliest, as OpenAI has it.
    """
    found: dict[str, list[Any]] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for told in tokens:
        id = told if isinstance(told, int) else told.token
        found["tokens"].append(text_of(tokenizer, id))
        found["text_offset"].append(offsets.push(id))
        if isinstance(told, int):
            found["token_logprobs"].append(None)
            found["top_logprobs"].append(None)
            continue
        likeliest: dict[str, float] = {}
        for other, logprob in (*_top(told)[:top], (id, told.logprob)):
            likeliest.setdefault(text_of(tokenizer, other), max(logprob, LEAST))  # of two that look alike the likelier
        found["token_logprobs"].append(max(told.logprob, LEAST))
        found["top_logprobs"].append(likeliest)
    return found


def prompt_logprobs(tokenizer: Tokenizer, scores: PromptScores, top: int) -> list[dict[str, Any] | None]:
    """As vLLM has them: of each token of the prompt an object of ids, its own and those of the ``top`` likeliest; null of the first."""

    def entry(id: int, logprob: float, rank: int) -> dict[str, Any]:
        return {"logprob": max(logprob, LEAST), "rank": rank, "decoded_token": text_of(tokenizer, id)}

    found: list[dict[str, Any] | None] = [None]
    for one in scores.found:
        best = {str(id): entry(id, logprob, at) for at, (id, logprob) in enumerate(one.top[:top], 1)}
        found.append({str(one.token): entry(one.token, one.logprob, one.rank)} | best)
    return found


def native_logprobs(tokenizer: Tokenizer, pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    """As in llama.cpp's ``completion_probabilities``."""
    return [
        {"id": piece.token}
        | _entry(tokenizer, piece.token, piece.logprob)
        | {"top_logprobs": [{"id": id} | _entry(tokenizer, id, logprob) for id, logprob in piece.top_logprobs]}
        for piece in pieces
    ]
