"""What generating gives: pieces as they come, whole answers, and how long they took."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Timings:
    """Seconds and tokens of one answer; ``prompt_tokens`` counts those computed, not those found in the cache.

    Of ``drafted_tokens``, guesses that were checked, ``accepted_tokens`` were right.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    prompt_seconds: float = 0.0
    first_token_seconds: float = 0.0
    decoded_tokens: int = 0
    decode_seconds: float = 0.0
    drafted_tokens: int = 0
    accepted_tokens: int = 0


@dataclass(frozen=True)
class Piece:
    """One token as it is generated. ``text`` may be empty while a character or a stop string is incomplete.

    The last piece may be one that ``ends`` the answer: its token is no part of it, its text what was held back until then.
    """

    text: str
    token: int
    logprob: float
    #: The likeliest tokens of its place and their log-probabilities, falling, where ``top_logprobs`` asks for some.
    top_logprobs: tuple[tuple[int, float], ...] = ()
    ends: bool = False


@dataclass
class Generation:
    """A whole answer. ``finish_reason`` is ``stop`` (end of turn, or a stop string) or ``length``."""

    text: str = ""
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish_reason: str = "length"
    timings: Timings = field(default_factory=Timings)
    top_logprobs: list[tuple[tuple[int, float], ...]] = field(default_factory=list)

    def add(self, piece: Piece) -> None:
        """Take the next piece in."""
        self.text += piece.text
        if not piece.ends:
            self.tokens.append(piece.token)
            self.logprobs.append(piece.logprob)
            self.top_logprobs.append(piece.top_logprobs)
