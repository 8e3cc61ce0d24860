"""POST /completion and /infill: llama.cpp's own API of texts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from heron.engine.generation import Timings
from heron.engine.model import Model
from heron.engine.sampling import SamplingParams
from heron.server.answers import Answers, Asked, Choice, Delta
from heron.server.errors import ApiError
from heron.server.infill import infill_ids
from heron.server.lease import Lease
from heron.server.leasing import answered
from heron.server.logprobs import native_logprobs, prompt_logprobs
from heron.server.parameters import choices, most_logprobs, prompt_scores, sampling_params
from heron.server.prompts import encode, must_fit, off_loop
from heron.server.replies import Shape, documented, respond
from heron.server.schemas_llamacpp import Infill, NativeCompletion, NativeSampling
from heron.server.settings import Settings
from heron.server.state import state_of

router = APIRouter(tags=["llama.cpp"])


_DOCUMENTED = documented(
    {"index": 0, "content": ", there was", "tokens": [], "stop": True, "stop_type": "limit", "tokens_predicted": 3},
    {"index": 0, "content": ",", "tokens": [432], "stop": False},
    done=False,
)


@router.post("/completion", summary="Go on with a text", response_model=None, responses=_DOCUMENTED)
@router.post("/completions", summary="Go on with a text (the same)", response_model=None, responses=_DOCUMENTED)
async def completion(request: Request, body: NativeCompletion) -> Response:
    """What the model writes after the prompt: an object, an array for several prompts, or a stream of events."""
    limits = state_of(request).settings.limits
    if len(body.prompt) > limits.prompts:
        raise ApiError(400, f"prompt has {len(body.prompt)} texts, and at most {limits.prompts} are read", param="prompt")

    def prompts(model: Model) -> list[list[int]]:
        return [encode(model.tokenizer, prompt, body.parse_special) for prompt in body.prompt]

    return await _answered(request, body, prompts, "prompt")


@router.post("/infill", summary="Fill in a gap", response_model=None, responses=_DOCUMENTED)
async def infill(request: Request, body: Infill) -> Response:
    """What belongs between two texts. 400 where the model was not trained for it."""
    extra = [(file.filename, file.text) for file in body.input_extra]

    def prompts(model: Model) -> list[list[int]]:
        before, after, begun = (
            model.tokenizer.encode(text, add_special=False) for text in (body.input_prefix, body.input_suffix, body.prompt)
        )
        return [infill_ids(model, before, after, "input_prefix", begun=begun, extra=extra)]

    return await _answered(request, body, prompts, "input_prefix")


#: A body's prompts, as a model's token ids.
Encode = Callable[[Model], Sequence[list[int]]]


async def _answered(request: Request, body: NativeSampling, prompts: Encode, param: str) -> Response:
    async def answer(lease: Lease) -> Response:
        engine, settings = lease.engine, state_of(request).settings
        found = await off_loop(param, lambda: prompts(engine.model))
        params = _params(body, settings, engine.model)
        must_fit(engine, found, param, settings.limits.prompt_tokens)
        scored = prompt_scores(body, settings.limits, engine.model)
        asked = [Asked(ids, params, sample, scored) for ids in found for sample in range(body.n)]
        return await respond(request, body, lease, asked, NativeShape(lease, body))

    return await answered(request, body, answer, stream=body.stream, end=NativeShape.end)


def _params(body: NativeSampling, settings: Settings, model: Model) -> SamplingParams:
    choices(body.n, settings.limits)
    top = most_logprobs("n_probs", body.n_probs, settings.limits)
    return sampling_params(body, settings, model.tokenizer, top_logprobs=top)


def settings(name: str, context: int, params: SamplingParams) -> dict[str, Any]:
    """``generation_settings`` of the model that is called so: the parameters as they were understood."""
    found = asdict(params)
    constraint, count = found.pop("constraint") or {}, params.max_tokens
    return found | {
        "model": name,
        "n_ctx": context,
        "n_predict": -1 if count is None else count,
        "max_tokens": -1 if count is None else count,
        "seed": -1 if params.seed is None else params.seed,
        "n_probs": found.pop("top_logprobs"),
        "grammar": constraint.get("text", "") if constraint.get("kind") in ("gbnf", "lark") else "",
    }


def timings(of: Timings, generated: int) -> dict[str, Any]:
    """Tokens, and how long they took in milliseconds: the prompt from when the request came."""
    computed = of.prompt_tokens - of.cached_tokens
    return {
        "cache_n": of.cached_tokens,
        **_speed("prompt", computed, of.first_token_seconds),
        **_speed("predicted", generated, of.decode_seconds),
    }


def _speed(name: str, count: int, seconds: float) -> dict[str, Any]:
    return {
        f"{name}_n": count,
        f"{name}_ms": 1000 * seconds,
        f"{name}_per_token_ms": 1000 * seconds / count if count else 0.0,
        f"{name}_per_second": count / seconds if seconds else 0.0,
    }


class NativeShape(Shape):
    """llama.cpp's objects. Its streams just end."""

    end = b""

    def __init__(self, lease: Lease, body: NativeSampling) -> None:
        self._tokenizer, self._body = lease.model.tokenizer, body
        self._name, self._context = lease.name, lease.engine.context_length

    def whole(self, answers: Answers) -> Any:
        found = [self._closing(choice, Delta(choice.whole, choice.pieces)) for choice in answers.choices]
        return found if len(found) > 1 else found[0]

    def events(self, answers: Answers, choice: Choice, delta: Delta, first: bool, last: bool) -> Iterable[Any]:
        if last:
            yield self._closing(choice, delta)
            return
        sent = len(choice.pieces)  # the engine may be further on
        told = self._said(choice, delta) | {"stop": False} | self._counts(choice, sent)
        yield told | ({"timings": timings(choice.request.timings, sent)} if self._body.timings_per_token else {})

    def _said(self, choice: Choice, delta: Delta) -> dict[str, Any]:
        wanted = self._body.return_tokens or self._body.stream
        told = {"index": choice.index, "content": delta.text, "tokens": [piece.token for piece in delta.pieces] if wanted else []}
        if self._body.n_probs:
            told["completion_probabilities"] = native_logprobs(self._tokenizer, delta.pieces)
        return told

    def _counts(self, choice: Choice, generated: int) -> dict[str, Any]:
        return {"id_slot": -1, "tokens_predicted": generated, "tokens_evaluated": choice.request.timings.prompt_tokens}

    def _closing(self, choice: Choice, delta: Delta) -> dict[str, Any]:
        word, request = choice.stop_string, choice.request
        told = self._said(choice, delta) | {
            "stop": True,
            "model": self._name,
            **self._counts(choice, choice.generated),
            "generation_settings": settings(self._name, self._context, choice.asked.params) | {"seed": request.answer.seed},
            "prompt": self._tokenizer.decode(choice.asked.prompt),
            "has_new_line": "\n" in choice.whole,
            "truncated": False,
            "stop_type": "word" if word is not None else "eos" if choice.end is not None else "limit",
            "stopping_word": word or "",
            "tokens_cached": request.timings.cached_tokens,
            "timings": timings(request.timings, choice.generated),
        }
        if self._body.prompt_logprobs is not None and request.scores:
            told["prompt_logprobs"] = prompt_logprobs(self._tokenizer, request.scores, self._body.prompt_logprobs)
        return told if self._body.response_fields is None else _picked(told, self._body.response_fields)


def _picked(told: dict[str, Any], fields: list[str]) -> dict[str, Any]:
    """The fields asked for; one within another stands by its own name. What there is not is left out."""
    found = {}
    for field in fields:
        value: Any = told
        *_, name = parts = field.split("/")
        for part in parts:
            value = value.get(part, ...) if isinstance(value, dict) else ...
        if value is not ...:
            found[name] = value
    return found
