"""SamplingParams: how the next token is chosen, checked when it is made. docs/sampling.md lists every parameter."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from heron.engine.constrain import Constraint
from heron.errors import RequestError

#: Numbers: name -> (least, most, whole). Infinite bounds are open.
_RANGES: dict[str, tuple[float, float, bool]] = {
    "temperature": (0.0, 100.0, False),
    "dynatemp_range": (0.0, 100.0, False),
    "dynatemp_exponent": (0.0, 100.0, False),
    "top_k": (0, 2**31 - 1, True),
    "top_p": (0.0, 1.0, False),
    "min_p": (0.0, 1.0, False),
    "typical_p": (0.0, 1.0, False),
    "top_n_sigma": (-1.0, 1000.0, False),
    "xtc_probability": (0.0, 1.0, False),
    "xtc_threshold": (0.0, 1.0, False),
    "repeat_penalty": (0.01, 100.0, False),
    "repeat_last_n": (-1, 2**31 - 1, True),
    "frequency_penalty": (-100.0, 100.0, False),
    "presence_penalty": (-100.0, 100.0, False),
    "dry_multiplier": (0.0, 100.0, False),
    "dry_base": (0.0, 100.0, False),
    "dry_allowed_length": (0, 2**31 - 1, True),
    "dry_penalty_last_n": (-1, 2**31 - 1, True),
    "mirostat": (0, 2, True),
    "mirostat_tau": (0.0, 100.0, False),
    "mirostat_eta": (0.0, 1.0, False),
    "seed": (0, 2**64 - 1, True),
    "max_tokens": (0, 2**31 - 1, True),
    "min_tokens": (0, 2**31 - 1, True),
    "top_logprobs": (0, 1000, True),
}
_OPTIONAL = frozenset({"seed", "max_tokens"})

#: The steps by their letters in llama.cpp's short form, in the order that is the default.
SAMPLERS: dict[str, str] = {
    "e": "penalties",
    "d": "dry",
    "s": "top_n_sigma",
    "k": "top_k",
    "y": "typ_p",
    "p": "top_p",
    "m": "min_p",
    "x": "xtc",
    "t": "temperature",
}
_ALIASES = {"typical_p": "typ_p", "typical": "typ_p", "nucleus": "top_p", "temp": "temperature"}


@dataclass(frozen=True)
class SamplingParams:
    """Parameters by their usual names. Raises RequestError for a value out of range, naming it.

    ``temperature`` 0 takes the likeliest token; ``dynatemp_range`` lets it vary with the entropy. ``top_k`` 0, ``top_p`` 1,
    ``min_p`` 0, ``typical_p`` 1, ``top_n_sigma`` 0 or less, ``xtc_probability`` 0, ``dry_multiplier`` 0 and ``mirostat`` 0 are off.
    ``repeat_last_n`` and ``dry_penalty_last_n`` are how many of the last tokens they look at (-1: all).
    ``samplers`` names the steps in their order (or gives llama.cpp's letters); a step that is not named is not taken.
    ``seed`` None draws one.

    ``logit_bias`` maps token ids to what is added to their logits (-inf bars them). Of ``allowed_token_ids``, unless None, one
    is chosen. ``bad_words`` are texts or sequences of token ids that are never completed.
    ``constraint`` is the language that the answer is in (JSON, a schema, a grammar, a regular expression).

    ``max_tokens`` None means as many as the context holds. ``stop`` are texts that end the answer, ``stop_token_ids`` tokens
    that do beside the model's own. Until there are ``min_tokens`` no such token is chosen; with ``ignore_eos`` the model's
    own never are. ``top_logprobs`` is how many of the likeliest tokens are reported beside each chosen one.
    """

    temperature: float = 0.8
    dynatemp_range: float = 0.0
    dynatemp_exponent: float = 1.0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    typical_p: float = 1.0
    top_n_sigma: float = -1.0
    xtc_probability: float = 0.0
    xtc_threshold: float = 0.1
    repeat_penalty: float = 1.0
    repeat_last_n: int = 64
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    dry_multiplier: float = 0.0
    dry_base: float = 1.75
    dry_allowed_length: int = 2
    dry_penalty_last_n: int = -1
    dry_sequence_breakers: tuple[str, ...] = ("\n", ":", '"', "*")
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    samplers: tuple[str, ...] = tuple(SAMPLERS.values())
    seed: int | None = None
    logit_bias: tuple[tuple[int, float], ...] = ()
    allowed_token_ids: tuple[int, ...] | None = None
    bad_words: tuple[str | tuple[int, ...], ...] = ()
    constraint: Constraint | None = None
    max_tokens: int | None = None
    min_tokens: int = 0
    stop: tuple[str, ...] = ()
    stop_token_ids: tuple[int, ...] = ()
    ignore_eos: bool = False
    top_logprobs: int = 0

    def __post_init__(self) -> None:
        for name, (least, most, whole) in _RANGES.items():
            value = getattr(self, name)
            if value is None and name in _OPTIONAL:
                continue
            _check(name, value, least, most, whole)
        if self.max_tokens is not None and self.min_tokens > self.max_tokens:
            raise RequestError(f"min_tokens is {self.min_tokens}, more than max_tokens, {self.max_tokens}")
        if not isinstance(self.ignore_eos, bool):
            raise RequestError(f"ignore_eos is {self.ignore_eos!r:.40}; give true or false")
        if self.constraint is not None and not isinstance(self.constraint, Constraint):
            raise RequestError(f"constraint is {self.constraint!r:.40}; give a heron.Constraint")
        for name, checked in (
            ("stop", _texts("stop", self.stop)),
            ("dry_sequence_breakers", _texts("dry_sequence_breakers", self.dry_sequence_breakers)),
            ("samplers", _steps(self.samplers)),
            ("logit_bias", _bias(self.logit_bias)),
            ("stop_token_ids", _ids("stop_token_ids", self.stop_token_ids)),
            ("allowed_token_ids", None if self.allowed_token_ids is None else _ids("allowed_token_ids", self.allowed_token_ids)),
            ("bad_words", _words(self.bad_words)),
        ):
            object.__setattr__(self, name, checked)
        if len(self.dry_sequence_breakers) > 32 or any(len(text) > 40 for text in self.dry_sequence_breakers):
            raise RequestError("dry_sequence_breakers holds more than 32 texts, or one of more than 40 characters")
        if self.allowed_token_ids == ():
            raise RequestError("allowed_token_ids is empty, so that no token could be chosen; leave it out to allow all")

    def changed(self, **changes: Any) -> SamplingParams:
        """A copy with other values. Raises RequestError for a name that is no sampling parameter."""
        if not changes:
            return self
        known = {f.name: getattr(self, f.name) for f in fields(self)}
        if unknown := sorted(changes.keys() - known.keys()):
            raise RequestError(f"unknown sampling parameter {', '.join(unknown)}; known are {', '.join(known)}")
        return SamplingParams(**(known | changes))

    @property
    def greedy(self) -> bool:
        """Whether the likeliest token is taken, with no chance in it."""
        return self.temperature == 0 and self.dynatemp_range == 0 and "temperature" in self.samplers


def _check(name: str, value: Any, least: float, most: float, whole: bool) -> None:
    kind = "a whole number" if whole else "a number"
    number = isinstance(value, int) if whole else isinstance(value, (int, float))
    if isinstance(value, bool) or not number or (isinstance(value, float) and not math.isfinite(value)) or not least <= value <= most:
        raise RequestError(f"{name} is {value!r:.40}; give {kind} from {least:g} to {most:g}")


def _listed(name: str, value: Any, what: str) -> list[Any]:
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise RequestError(f"{name} is {value!r:.60}; give a list of {what}")
    return list(value)


def _texts(name: str, value: Any) -> tuple[str, ...]:
    texts = _listed(name, value, "texts")
    if not all(isinstance(text, str) and text for text in texts):
        raise RequestError(f"{name} is {value!r:.60}; give a list of texts, none of them empty")
    return tuple(texts)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31


def _ids(name: str, value: Any) -> tuple[int, ...]:
    ids = _listed(name, value, "token ids")
    if bad := [id for id in ids if not _is_id(id)]:
        raise RequestError(f"{name} holds {bad[0]!r:.40}; give token ids, whole numbers from 0")
    return tuple(ids)


def _bias(value: Any) -> tuple[tuple[int, float], ...]:
    """Pairs in the order of ids. JSON's objects have texts as keys: a whole number in a text counts."""
    pairs = list(value.items()) if isinstance(value, Mapping) else [tuple(pair) for pair in _listed("logit_bias", value, "pairs")]
    found: dict[int, float] = {}
    for pair in pairs:
        id, bias = pair if len(pair) == 2 else (-1, 0)
        if isinstance(id, str) and id.isascii() and id.isdigit() and len(id) < 11:
            id = int(id)
        if not _is_id(id) or isinstance(bias, bool) or not isinstance(bias, (int, float)) or math.isnan(bias) or bias > 1e30:
            raise RequestError(f"logit_bias holds {pair!r:.60}; give token ids with the numbers to add to their logits")
        found[id] = float(bias)
    return tuple(sorted(found.items()))


def _words(value: Any) -> tuple[str | tuple[int, ...], ...]:
    words = [word if isinstance(word, str) else _ids("bad_words", word) for word in _listed("bad_words", value, "texts or token ids")]
    if not all(words):
        raise RequestError("bad_words holds one that is empty")
    return tuple(words)


def _steps(value: Any) -> tuple[str, ...]:
    """The names of steps, from names, other names for them, or letters."""
    given = list(value) if isinstance(value, str) else _listed("samplers", value, "names")
    names = tuple(SAMPLERS.get(name, _ALIASES.get(name, name)) if isinstance(name, str) else name for name in given)
    if bad := [name for name in names if name not in SAMPLERS.values()]:
        raise RequestError(f"samplers holds {bad[0]!r:.40}; known are {', '.join(SAMPLERS.values())}")
    return names
