"""POST /v1/completions: OpenAI's API of plain texts."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from heron.engine.logprobs import PromptScores
from heron.engine.model import Model
from heron.server.answers import Answers, Asked, Choice, Delta
from heron.server.errors import ApiError
from heron.server.infill import infill_ids
from heron.server.lease import Lease
from heron.server.leasing import answered
from heron.server.logprobs import Offsets, Told, legacy_logprobs, prompt_logprobs
from heron.server.parameters import choices, most_logprobs, prompt_scores, sampling_params
from heron.server.prompts import Prompt, encode, must_fit, off_loop
from heron.server.replies import Shape, documented, fingerprint, new_id, respond
from heron.server.schemas_completions import CompletionRequest
from heron.server.settings import Limits
from heron.server.state import state_of
from heron.text.tokenizer import Tokenizer

router = APIRouter(tags=["OpenAI"])

#: How long an answer is where the client does not say: OpenAI's default.
MAX_TOKENS = 16


_HEAD = {"id": "cmpl-1", "object": "text_completion", "created": 1795000000, "model": "m"}
_DOCUMENTED = documented(
    {
        **_HEAD,
        "choices": [{"index": 0, "text": ", there was", "logprobs": None, "finish_reason": "length"}],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8, "prompt_tokens_details": {"cached_tokens": 0}},
    },
    {**_HEAD, "choices": [{"index": 0, "text": ",", "logprobs": None, "finish_reason": None}]},
)


@router.post("/v1/completions", summary="Go on with a text", response_model=None, responses=_DOCUMENTED)
async def completions(request: Request, body: CompletionRequest) -> Response:
    """What the model writes after each prompt, whole or as a stream of events."""
    return await answered(request, body, partial(_answer, request, body), stream=body.stream)


async def _answer(request: Request, body: CompletionRequest, lease: Lease) -> Response:
    engine, settings = lease.engine, state_of(request).settings
    limits = settings.limits
    _check(body, limits)
    own = {} if "max_tokens" in body.model_fields_set else {"max_tokens": MAX_TOKENS}
    params = sampling_params(body, settings, engine.model.tokenizer, top_logprobs=body.logprobs or 0, **own)
    prompts = await off_loop("prompt", lambda: [_ids(engine.model, prompt, body) for prompt in body.prompt])
    must_fit(engine, prompts, "prompt", limits.prompt_tokens)
    scored = prompt_scores(body, limits, engine.model, body.logprobs if body.echo else None)
    asked = [Asked(ids, params, sample, None if sample else scored) for ids in prompts for sample in range(body.n)]
    echoed = [_text(engine.model.tokenizer, *pair) for pair in zip(body.prompt, prompts, strict=True)] if body.echo else []
    return await respond(request, body, lease, asked, CompletionShape(lease, body, echoed))


def _check(body: CompletionRequest, limits: Limits) -> None:
    """Raises ApiError 400 for what cannot be."""
    choices(body.n, limits)
    if len(body.prompt) > limits.prompts:
        raise ApiError(400, f"prompt has {len(body.prompt)} texts, and at most {limits.prompts} are read", param="prompt")
    if body.best_of is not None and body.best_of != body.n:
        raise ApiError(400, f"best_of is {body.best_of!r:.40}, and all n={body.n} answers are given; leave it out", param="best_of")
    if body.logprobs is not None:
        most_logprobs("logprobs", body.logprobs, limits)
    if body.echo and body.suffix is not None:
        raise ApiError(400, "echo and suffix cannot be asked for together", param="echo")


def _ids(model: Model, prompt: Prompt, body: CompletionRequest) -> list[int]:
    if body.suffix is None:
        return encode(model.tokenizer, prompt, body.parse_special)
    return infill_ids(model, encode_plain(model.tokenizer, prompt), encode_plain(model.tokenizer, body.suffix), "suffix")


def encode_plain(tokenizer: Tokenizer, text: Prompt) -> list[int]:
    """Token ids with nothing put around them."""
    return tokenizer.encode(text, add_special=False) if isinstance(text, str) else encode(tokenizer, text, False)


def _text(tokenizer: Tokenizer, prompt: Prompt, ids: list[int]) -> str:
    return prompt if isinstance(prompt, str) else tokenizer.decode(ids, skip_special=True)


class CompletionShape(Shape):
    """``text_completion`` objects, whole or in parts. ``echoed`` are the texts of the prompts, where they are wanted."""

    def __init__(self, lease: Lease, body: CompletionRequest, echoed: list[str]) -> None:
        self._tokenizer, self._body, self._echoed = lease.model.tokenizer, body, echoed
        self._offsets: dict[int, Offsets] = {}
        self._usage = body.stream_options.include_usage
        self._head = {
            "id": new_id("cmpl"),
            "object": "text_completion",
            "created": int(time.time()),
            "model": lease.name,
            "system_fingerprint": fingerprint(lease),
        }

    def whole(self, answers: Answers) -> Any:
        written = [self._choice(answers, choice, Delta(choice.whole, choice.pieces), True, True) for choice in answers.choices]
        if self._body.prompt_logprobs is not None:
            for choice, told in zip(answers.choices, written, strict=True):
                if scores := _scores(answers, choice):
                    told["prompt_logprobs"] = prompt_logprobs(self._tokenizer, scores, self._body.prompt_logprobs)
        return {**self._head, "choices": written, "usage": answers.usage}

    def events(self, answers: Answers, choice: Choice, delta: Delta, first: bool, last: bool) -> Iterable[Any]:
        yield {
            **self._head,
            "choices": [self._choice(answers, choice, delta, first, last)],
            **({"usage": None} if self._usage else {}),
        }

    def closing(self, answers: Answers) -> Iterable[Any]:
        if self._usage:
            yield {**self._head, "choices": [], "usage": answers.usage}

    def _choice(self, answers: Answers, choice: Choice, delta: Delta, first: bool, last: bool) -> dict[str, Any]:
        echoes = first and bool(self._echoed)
        return {
            "index": choice.index,
            "text": (self._echoed[choice.index // self._body.n] if echoes else "") + delta.text,
            "logprobs": None if self._body.logprobs is None else self._logprobs(answers, choice, delta, echoes, last, self._body.logprobs),
            "finish_reason": choice.finish_reason if last else None,
        }

    def _logprobs(self, answers: Answers, choice: Choice, delta: Delta, echoes: bool, last: bool, top: int) -> dict[str, Any]:
        """Of the prompt's tokens too, where it is echoed, and of the token that ended the answer."""
        offsets = self._offsets.setdefault(choice.index, Offsets(self._tokenizer, continues=not self._echoed))
        ended = [choice.end] if last and choice.end else []
        echoed: list[Told | int] = []
        if echoes and (scores := _scores(answers, choice)):
            echoed = [choice.asked.prompt[0], *scores.found]
        return legacy_logprobs(self._tokenizer, [*echoed, *delta.pieces, *ended], offsets, top)


def _scores(answers: Answers, choice: Choice) -> PromptScores | None:
    """What the model says of the prompt's tokens, for which the first answer to it was asked."""
    return answers.choices[choice.index - choice.asked.sample].request.scores
