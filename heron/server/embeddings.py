"""POST /v1/embeddings: OpenAI's API of vectors."""

from __future__ import annotations

import base64

import numpy as np
from fastapi import APIRouter, Request
from numpy.typing import NDArray
from starlette.responses import Response

from heron.engine.embedding import unit
from heron.server.errors import ApiError
from heron.server.leasing import leased
from heron.server.prompts import Prompt, off_loop
from heron.server.replies import reply, warning
from heron.server.schemas_embeddings import EmbeddingRequest
from heron.server.state import state_of
from heron.server.stream import while_connected
from heron.text.tokenizer import Tokenizer

router = APIRouter(tags=["OpenAI"])


@router.post("/v1/embeddings", summary="Vectors of texts", response_model=None)
async def embeddings(request: Request, body: EmbeddingRequest) -> Response:
    """A vector of length 1 for each text, pooled as the model was trained to."""
    lease, limits = await leased(request, body, "embeddings"), state_of(request).settings.limits
    engine, model = lease.engine, lease.model
    if len(body.input) > limits.prompts:
        raise ApiError(400, f"input has {len(body.input)} texts, and at most {limits.prompts} are read", param="input")
    size = model.graph_model.hidden_size
    if body.dimensions is not None and body.dimensions > size:
        raise ApiError(400, f"dimensions is {body.dimensions!r:.40}, and the vectors have {size}", param="dimensions")
    texts = [_pure(at, text, model.tokenizer) for at, text in enumerate(body.input)]
    prompts = await off_loop("input", lambda: model.embedder.encode(texts))
    vectors = await while_connected(request.receive, engine.aembed(prompts, priority=body.priority))
    if body.dimensions is not None:
        vectors = np.stack([unit(vector[: body.dimensions]) for vector in vectors]).astype(np.float32)
    count = sum(map(len, prompts))
    found = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": at, "embedding": _written(vector, body.encoding_format)} for at, vector in enumerate(vectors)
        ],
        "model": lease.name,
        "usage": {"prompt_tokens": count, "total_tokens": count},
    }
    return reply(found, warning(body.ignored))


def _pure(at: int, text: Prompt, tokenizer: Tokenizer) -> str | list[int]:
    """A text or token ids. Raises ApiError 400 for a mixture, and for an id outside the vocabulary."""
    if isinstance(text, str):
        return text
    for id in text:
        if isinstance(id, str) or not 0 <= id < tokenizer.vocab_size:
            message = f"input {at}: {id!r:.40} is no token id of the vocabulary of {tokenizer.vocab_size}"
            raise ApiError(400, message, param=f"input.{at}")
    return [id for id in text if isinstance(id, int)]


def _written(vector: NDArray[np.float32], form: str) -> str | list[float]:
    """Numbers, or their bytes, little-endian float32, in base64."""
    return base64.b64encode(vector.astype("<f4").tobytes()).decode() if form == "base64" else vector.tolist()
