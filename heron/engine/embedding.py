"""Texts to vectors: hidden states of each text's tokens, pooled, and made unit length."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Executable
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import locate
from heron.checkpoint.sentence import SentenceModel, read_sentence_model
from heron.errors import BackendError, RequestError, UnsupportedError
from heron.models.encoder import pooling
from heron.models.params import Params

if TYPE_CHECKING:
    from heron.engine.model import Model, Prompt

Vector = NDArray[np.float32]

#: An encoder computes texts of up to so many tokens in one step; a longer text has a step of its own.
STEP_TOKENS = 512

#: Hidden states of a text [T, hidden] -> its vector [hidden].
POOLINGS: dict[str, Callable[[Vector], NDArray[Any]]] = {
    "mean": lambda hidden: hidden.mean(axis=0, dtype=np.float64),
    "cls": lambda hidden: hidden[0],
    "last": lambda hidden: hidden[-1],
}


class Embedder:
    """Computes vectors with a model. ``asked`` is the context that the user wants, or 0."""

    def __init__(self, model: Model, asked: int) -> None:
        self._model = model
        checkpoint, context = model.checkpoint, model.context_length
        self._saved = read_sentence_model(locate(checkpoint.path)) if checkpoint.source == "hf" else SentenceModel()
        #: Tokens of the longest text: the context, or what the folder's own settings say, unless a context is asked for.
        self.max_tokens = context if asked else min(context, self._saved.max_tokens or context)

    def encode(self, texts: Iterable[Prompt], truncate: bool = False) -> list[list[int]]:
        """Token ids of each text. Raises RequestError for one that is empty, or too long unless it may be cut."""
        return [self._encode(at, text, truncate) for at, text in enumerate([texts] if isinstance(texts, str) else texts)]

    def _encode(self, at: int, text: Prompt, truncate: bool) -> list[int]:
        if not isinstance(text, str) and not isinstance(text, SequenceOf):
            raise RequestError(f"text {at} is {text!r:.40}; embed takes a list of texts, of lists of token ids, or of chats")
        try:
            ids = self._model.encode(text)
        except RequestError as error:
            raise RequestError(f"text {at}: {error}") from None
        tokenizer = self._model.tokenizer
        prefix, suffix = (tokenizer.prefix, tokenizer.suffix) if isinstance(text, str) else ([], [])
        if len(ids) <= len(prefix) + len(suffix):
            raise RequestError(f"text {at} is empty; leave it out")
        if len(ids) <= self.max_tokens:
            return ids
        if not truncate:
            raise RequestError(f"text {at} has {len(ids)} tokens, the model reads {self.max_tokens}; shorten it, or let it be truncated")
        return ids[: max(0, self.max_tokens - len(suffix))] + suffix

    def vectors(self, prompts: Iterable[list[int]], pooling: str | None = None, normalize: bool = True) -> Iterator[Vector]:
        """The vector of each text, in order, float32 [hidden], as steps are done. ``prompts`` are as ``encode`` returns them."""
        pooling = self.pooling(pooling)
        for hidden in self._together(prompts) if self._model.is_encoder else map(self._model.hidden, prompts):
            yield pooled(hidden, pooling, normalize)

    def pooling(self, asked: str | None = None) -> str:
        """What is asked for, or what the model says. Raises RequestError for what there is not."""
        checkpoint, known = self._model.checkpoint, ", ".join(POOLINGS)
        if asked is None:
            if self._saved.unknown:
                need = f"its vectors need {', '.join(self._saved.unknown)}, which Heron does not compute"
                raise UnsupportedError(f"{checkpoint.path}: {need}; or name a pooling: {known}")
            params = Params(checkpoint.metadata, checkpoint.architecture, str(checkpoint.path))
            asked = pooling(params, "mean" if "encode" in self._model.graph_model.entries else "last")
            if asked == "none":
                raise RequestError(f"{checkpoint.path} says that its hidden states are not pooled; name a pooling: {known}")
        if asked not in POOLINGS:
            raise RequestError(f"there is no pooling {asked!r}; there are {known}")
        return asked

    def _together(self, prompts: Iterable[list[int]]) -> Iterator[Vector]:
        """An encoder's hidden states of each text, many texts in one step."""
        for group in _steps(prompts):
            yield from encode(self._model.executable, group)


def _steps(prompts: Iterable[list[int]]) -> Iterator[list[list[int]]]:
    """The texts in groups of up to STEP_TOKENS tokens, or of one text."""
    group: list[list[int]] = []
    for ids in prompts:
        if group and sum(map(len, group)) + len(ids) > STEP_TOKENS:
            yield group
            group = []
        group.append(ids)
    if group:
        yield group


def encode(executable: Executable, texts: SequenceOf[list[int]]) -> list[Vector]:
    """The encoder's hidden states of each text, in one step that keeps nothing: what a decoder would read goes to the null block."""
    lengths = np.array([len(ids) for ids in texts], np.int32)
    starts = np.cumsum([0, *lengths], dtype=np.int32)
    groups = [group for group in executable.state_groups if group.kind == "cross"]
    cross = {group.name: np.zeros((len(texts), -(-lengths.max() // group.block_size)), np.int32) for group in groups}
    batch = Batch(np.concatenate(texts).astype(np.int32), starts, lengths, np.zeros(0, np.int32), cross=cross)
    return np.split(executable.run("encode", batch, ("hidden",))["hidden"], starts[1:-1])


def pooled(hidden: Vector, pooling: str, normalize: bool) -> Vector:
    """The vector of a text's hidden states [T, hidden]. Raises BackendError for one that is not finite."""
    vector = POOLINGS[pooling](hidden)
    if not np.isfinite(vector).all():
        raise BackendError("the model computed vectors that are not finite; its weights may be damaged")
    return (unit(vector) if normalize else vector).astype(np.float32)


def unit(vector: NDArray[Any]) -> NDArray[np.float64]:
    """The vector at length 1 (one of zeros stays)."""
    exact = vector.astype(np.float64)
    return exact / max(float(np.linalg.norm(exact)), 1e-12)
