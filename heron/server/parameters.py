"""Sampling parameters as clients write them, under every name in use, and the SamplingParams that they mean."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from heron.engine.model import Model
from heron.engine.sampling import SamplingParams
from heron.engine.speculate import MOST_DRAFT_TOKENS
from heron.errors import RequestError
from heron.server.body import Flag, Number, Whole
from heron.server.errors import ApiError
from heron.server.schemas_model import ForModel
from heron.server.settings import Limits, Settings
from heron.server.structure import Structure
from heron.text.tokenizer import Tokenizer

PRIORITY = Field(0, description="Requests with a lower number are served first.", ge=-(2**31), lt=2**31)


def about(meaning: str) -> Any:
    """A parameter that may be left out; ``meaning`` is for the OpenAPI page."""
    return Field(None, description=meaning)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _pairs(value: Any) -> list[tuple[int | str, float | bool]]:
    pairs = list(value.items()) if isinstance(value, Mapping) else value
    for pair in pairs if isinstance(pairs, list) else [None]:
        if not isinstance(pair, (list, tuple)) or len(pair) != 2 or not isinstance(pair[1], (int, float)) or pair[1] is True:
            raise PydanticCustomError(
                "bias", "give token ids with the numbers to add to their logits, not {pair}", {"pair": f"{pair!r:.60}"}
            )
        if isinstance(pair[0], bool) or not isinstance(pair[0], (int, str)):
            raise PydanticCustomError("bias", "{token} is neither a token id nor a text", {"token": f"{pair[0]!r:.40}"})
    return [(pair[0], pair[1]) for pair in pairs]


Texts = Annotated[
    list[str],
    BeforeValidator(_listed),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]

_NUMBER = re.compile(r"-?[0-9]+")

#: Pairs of a token (an id, an id in a text, or a text) and what is added to its logits; false bars it.
Biases = Annotated[
    list[Any],
    BeforeValidator(_pairs),
    WithJsonSchema(
        {"anyOf": [{"type": "object", "additionalProperties": {"type": "number"}}, {"type": "array", "items": {"type": "array"}}]}
    ),
]


class Sampling(Structure, ForModel):
    """How tokens are chosen. What is left out is as the server's settings have it."""

    temperature: Number | None = about("0 takes the likeliest token.")
    dynatemp_range: Number | None = about("The temperature moves so far both ways, by how sure the model is.")
    dynatemp_exponent: Number | None = about("How the temperature follows the entropy.")
    top_k: Whole | None = about("Keep the k likeliest tokens; 0 or -1: all.")
    top_p: Number | None = about("Keep the likeliest tokens that add up to p.")
    min_p: Number | None = about("Keep tokens at least so likely, relative to the likeliest.")
    typical_p: Number | None = about("Keep the most typical tokens that add up to p.")
    top_n_sigma: Number | None = about("Keep tokens within so many standard deviations of the highest logit; -1: off.")
    xtc_probability: Number | None = about("How often the likeliest choices are left out.")
    xtc_threshold: Number | None = about("How likely a token must be to count as such a choice.")
    repeat_penalty: Number | None = about("Make recent tokens less likely; 1: off. Also repetition_penalty.")
    repeat_last_n: Whole | None = about("How many recent tokens the penalties look at; -1: all.")
    frequency_penalty: Number | None = about("Subtracted for each time a token occurred.")
    presence_penalty: Number | None = about("Subtracted once from tokens that occurred.")
    dry_multiplier: Number | None = about("How much a token that goes on with a repetition loses; 0: off.")
    dry_base: Number | None = about("How the loss grows with the repetition's length.")
    dry_allowed_length: Whole | None = about("Repetitions up to this length cost nothing.")
    dry_penalty_last_n: Whole | None = about("How many recent tokens are searched for repetitions; -1: all.")
    dry_sequence_breakers: list[str] | None = about("Texts across which nothing counts as a repetition.")
    mirostat: Whole | None = about("1 or 2: hold the surprise of the text at a target.")
    mirostat_tau: Number | None = about("Mirostat's target, in bits.")
    mirostat_eta: Number | None = about("Mirostat's rate.")
    samplers: list[str] | str | None = about("The steps in their order; one that is not named is not taken.")
    seed: Whole | None = about("The same seed gives the same answer again; -1 draws one.")
    logit_bias: Biases | None = about("Token ids and what is added to their logits; also [[token, bias], ...], a bias of false bars it.")
    allowed_token_ids: list[Whole] | None = about("No other token is chosen.")
    bad_words: list[str | list[Whole]] | None = about("Texts, or token ids, that never come.")
    max_tokens: Whole | None = about("Generate at most so many tokens. Also max_completion_tokens and n_predict (-1: no limit).")
    min_tokens: Whole | None = about("Do not end before so many tokens.")
    stop: Texts | None = about("Texts that end the answer, and are not part of it.")
    stop_token_ids: list[Whole] | None = about("Tokens that end the answer, beside the model's own.")
    ignore_eos: Flag | None = about("Go on where the model would end.")
    priority: Whole = PRIORITY
    speculate: Literal["off", "ngram", "draft"] | None = about("How tokens are guessed ahead; the answer is the same.")
    draft_tokens: Whole | None = Field(None, description="How many tokens to guess at a time.", ge=1, le=MOST_DRAFT_TOKENS)

    stream: Flag = False
    prompt_logprobs: Whole | None = Field(
        None, description="Give the log-probability of each of the prompt's tokens, and so many of the likeliest.", ge=0
    )

    @property
    def ignored(self) -> list[str]:
        """What is not heeded, and may change what the client expects."""
        return self.unknown

    @property
    def options(self) -> dict[str, Any]:
        """What the engine is told beside how tokens are chosen, as ``Engine.submit`` takes it."""
        return {"priority": self.priority, "speculate": self.speculate, "draft_tokens": self.draft_tokens}


def sampling_params(body: Sampling, settings: Settings, tokenizer: Tokenizer, **own: Any) -> SamplingParams:
    """What ``body`` asks for, else ``settings.sampling``; ``own`` is what an API decides. Raises ApiError 400, naming the parameter."""
    limits, default = settings.limits, settings.sampling
    known = SamplingParams.__dataclass_fields__
    given = {name: value for name in body.model_fields_set if name in known and (value := getattr(body, name)) is not None}
    for name, meant in _MEANT.items():
        if name in given:
            given[name] = meant(body, given[name])
    for name, most in _most(limits, tokenizer).items():
        if (count := len(given.get(name, ()))) > most:
            raise ApiError(400, f"{name} has {count} items, and at most {most} are heeded", param=name)
    if "logit_bias" in given:
        given["logit_bias"] = list(_biases(given["logit_bias"], tokenizer))
    for name in ("stop_token_ids", "allowed_token_ids", "bad_words"):
        in_vocabulary(name, given.get(name, ()), tokenizer.vocab_size)
    if "max_tokens" not in given and default.max_tokens is not None and given.get("min_tokens", 0) > default.max_tokens:
        given["max_tokens"] = None  # who asks for so many knows better
    try:
        return default.changed(**{**given, "constraint": body.constraint(limits), **own})
    except RequestError as error:
        name = error.param or str(error).split(maxsplit=1)[0]
        raise ApiError(400, str(error), param=body.spelled(name) if name in given else None) from None


def _most(limits: Limits, tokenizer: Tokenizer) -> dict[str, int]:
    """How long lists may be."""
    of_tokens = dict.fromkeys(("logit_bias", "stop_token_ids", "allowed_token_ids"), tokenizer.vocab_size)
    return {"stop": limits.stop_strings, "bad_words": limits.words, "dry_sequence_breakers": limits.words, **of_tokens}


def in_vocabulary(name: str, ids: Sequence[Any], size: int) -> None:
    """Raises ApiError 400 for a token id that there is not, naming its place in parameter ``name``. Texts pass."""
    for at, id in enumerate(ids):
        if isinstance(id, list):
            in_vocabulary(f"{name}.{at}", id, size)
        elif isinstance(id, int) and not 0 <= id < size:
            raise ApiError(400, f"{name}: token id {id!r:.40} is outside the vocabulary of {size}", param=f"{name}.{at}")


def _biases(pairs: Sequence[tuple[int | str, bool | float]], tokenizer: Tokenizer) -> Iterator[tuple[int, float]]:
    for token, bias in pairs:
        for id in _ids(token, tokenizer):
            if not 0 <= id < tokenizer.vocab_size:
                message = f"logit_bias: token id {token!s:.40} is outside the vocabulary of {tokenizer.vocab_size}"
                raise ApiError(400, message, param=f"logit_bias.{token!s:.40}")
            yield id, -math.inf if isinstance(bias, bool) else bias


def _ids(token: int | str, tokenizer: Tokenizer) -> list[int]:
    """The tokens of a text, or the one whose id it is; -1 for a number that is too long to be an id."""
    if isinstance(token, str) and not _NUMBER.fullmatch(token):
        return tokenizer.encode(token, add_special=False)
    return [int(token) if len(str(token)) < 20 else -1]


def _seed(body: Sampling, seed: int) -> int | None:
    """Seeds are 64 bits, signed or not; -1 stands for none."""
    return None if seed == -1 else seed % 2**64 if -(2**63) <= seed < 0 else seed


#: Values that mean something else here than where they come from.
_MEANT: dict[str, Callable[[Sampling, Any], Any]] = {
    "top_k": lambda body, k: 0 if k == -1 else k,
    "max_tokens": lambda body, count: None if count == -1 and body.spelled("max_tokens") == "n_predict" else count,
    "seed": _seed,
}


def choices(n: int, limits: Limits) -> None:
    """Raises ApiError 400 for more answers than one request may ask for."""
    if n > limits.choices:
        raise ApiError(400, f"n is {n!r:.40}, and at most {limits.choices} answers are given", param="n")


def most_logprobs(name: str, count: int, limits: Limits) -> int:
    """``count``. Raises ApiError 400 where it is more than a server gives."""
    if count > limits.top_logprobs:
        raise ApiError(400, f"{name} is {count!r:.40}, and at most {limits.top_logprobs} are given", param=name)
    return count


def prompt_scores(body: Sampling, limits: Limits, model: Model, echoed: int | None = None) -> int | None:
    """How many tokens to have beside each of the prompt's for ``prompt_logprobs`` and an echo; None where nothing is said of them.

    Raises ApiError 400 where there are none to have.
    """
    if body.prompt_logprobs is not None:
        most_logprobs("prompt_logprobs", body.prompt_logprobs, limits)
        if body.stream:
            raise ApiError(400, "prompt_logprobs are not given in a stream", param="prompt_logprobs")
    wanted = [count for count in (body.prompt_logprobs, echoed) if count is not None]
    if wanted and model.graph_model.decoder_start is not None:
        name = "logprobs" if body.prompt_logprobs is None else "prompt_logprobs"
        raise ApiError(400, "this model reads a prompt with its encoder, which says nothing of its tokens", param=name)
    return max(wanted, default=None)
