"""Rules: what sampling parameters mean in a model's vocabulary."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from heron.engine.sampling import SamplingParams
from heron.errors import RequestError

if TYPE_CHECKING:
    from heron.text.tokenizer import Tokenizer

Sequences = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Rules:
    """``ends`` are tokens that end the answer, ``barred`` such as never may come; ``allowed`` none means all.

    ``bad_words`` are sequences that are not completed, ``breakers`` such as a repetition does not reach across.
    """

    ends: tuple[int, ...] = ()
    barred: tuple[int, ...] = ()
    allowed: tuple[int, ...] = ()
    bias: tuple[tuple[int, float], ...] = ()
    bad_words: Sequences = ()
    breakers: Sequences = ()


class Rulebook:
    """The rules of one vocabulary. What it remembers, since several answers have one request's, goes when it goes."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._of = lru_cache(maxsize=16)(partial(_rules, tokenizer, lru_cache(maxsize=32)(partial(breaking, tokenizer))))

    def of(self, params: SamplingParams) -> Rules:
        """Raises RequestError for token ids outside the vocabulary."""
        return self._of(params)


def _rules(tokenizer: Tokenizer, breakers: Callable[[tuple[str, ...]], Sequences], params: SamplingParams) -> Rules:
    vocab = tokenizer.vocab_size
    _check("logit_bias", (id for id, _ in params.logit_bias), vocab)
    _check("stop_token_ids", params.stop_token_ids, vocab)
    _check("allowed_token_ids", params.allowed_token_ids or (), vocab)
    words: set[tuple[int, ...]] = set()
    for word in params.bad_words:
        if isinstance(word, str):
            bare = word.lstrip() or word  # at the beginning of a text, and within it
            words.update(tuple(tokenizer.encode(text, add_special=False)) for text in (bare, f" {bare}"))
        else:
            _check("bad_words", word, vocab)
            words.add(word)
    own = tuple(sorted(tokenizer.eos_ids))
    return Rules(
        ends=tuple(sorted({*params.stop_token_ids, *own})),
        barred=own if params.ignore_eos else (),
        allowed=params.allowed_token_ids or (),
        bias=params.logit_bias,
        bad_words=tuple(sorted(words)),
        breakers=breakers(params.dry_sequence_breakers) if params.dry_multiplier else (),
    )


def _check(name: str, ids: Iterable[int], vocab: int) -> None:
    bad = next((id for id in ids if id >= vocab), None)
    if bad is not None:
        raise RequestError(f"{name} holds token id {bad}, outside the vocabulary of {vocab}")


def breaking(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Sequences:
    """The tokens that contain one of the texts, and those that end as one begins, with the tokens of its rest after them."""
    found: set[tuple[int, ...]] = set()
    pieces = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
    for text in texts:
        whole = text.encode()
        found.update((id,) for id, piece in enumerate(pieces) if whole in piece)
        for cut in range(1, len(text)):
            head, tail = text[:cut].encode(), tokenizer.encode(text[cut:], add_special=False)
            found.update((id, *tail) for id, piece in enumerate(pieces) if piece.endswith(head) and whole not in piece)
    return tuple(sorted(found))
