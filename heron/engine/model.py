"""A model ready to answer, one request at a time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from collections.abc import Sequence as SequenceOf
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import Options, Result
from heron.backends.choose import Where, make_ready
from heron.checkpoint.checkpoint import Checkpoint
from heron.engine.answer import Answer
from heron.engine.cache import Cache, Sequence, last_row, units_for
from heron.engine.embedding import Embedder
from heron.engine.generation import Generation, Piece, Timings
from heron.engine.grammars import Grammars
from heron.engine.memory import Demand, demands
from heron.engine.sampling import SamplingParams
from heron.errors import BackendError, NoRoom, RequestError
from heron.models.registry import build_model

if TYPE_CHECKING:  # imported where they are used first, which is while weights are laid out
    from heron.graph.graph import Model as GraphModel
    from heron.text.chat import ChatTemplate
    from heron.text.reasoning import Splitter
    from heron.text.tokenizer import Tokenizer

#: Tokens of a prompt that are computed in one step.
PREFILL_CHUNK = 512

#: The part of the free memory that a context of unstated size may take.
CONTEXT_SHARE = 0.5

Message = dict[str, Any]
Prompt = str | SequenceOf[int] | SequenceOf[Message]


class Model:
    """A language model, its tokenizer, and one sequence's cache, whose common prefix with the last prompt is used again."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        where: Where,
        options: Options,
        ctx_size: int,
        rewrite: Callable[[GraphModel], GraphModel] | None = None,
    ) -> None:
        from heron.engine.forecast import must_fit  # which foretells what is read of this file

        begin = time.perf_counter()
        self.checkpoint, self.options = checkpoint, options
        self.graph_model = build_model(checkpoint)
        if rewrite is not None:
            self.graph_model = rewrite(self.graph_model)
        must_fit(self.graph_model, where, options)
        ready = make_ready(self.graph_model, where, options)
        self.where, self.backend, self.device, self.executable = where, ready.backend, ready.device, ready.executable
        try:
            self.tokenizer = _tokenizer(checkpoint)  # while weights are laid out
            self.grammars = Grammars(self.tokenizer)
            self.executable.wait(enough=True)
            self.context_length = self._context(ctx_size)
            self.allocate()
        except BaseException:
            self.executable.close()
            raise
        self.embedder = Embedder(self, ctx_size)
        self.timings = Timings()
        self.finish_reason, self.seed = "", 0
        self.load_seconds = time.perf_counter() - begin

    def allocate(self) -> None:
        """Make a cache for one sequence of a whole context, in place of what is there."""
        units = self._units(self.context_length)
        self.executable.allocate(units)
        self._own: Sequence | None = Sequence(Cache(self.executable.state_groups, units))

    def lend(self) -> None:
        """Leave the cache to an engine, until ``allocate`` takes it back. Raises RequestError where another engine has it."""
        if self._own is None:
            raise RequestError("this model's cache is another Engine's; close that one first, or load the model again")
        self._own = None

    @property
    def _sequence(self) -> Sequence:
        if self._own is None:
            raise RequestError("this model's cache is an Engine's now; ask the engine, or close it first")
        return self._own

    def _context(self, asked: int) -> int:
        """The context's size in tokens: what is asked for, or the model's own, reduced until its cache fits in memory."""
        own = self.graph_model.context_length
        if asked < 0:
            raise RequestError(f"ctx_size {asked} is negative; 0 means the model's own, {own}")
        if asked > own and (self.is_encoder or "position_embd.weight" in self.checkpoint.tensors):
            raise RequestError(f"ctx_size {asked} is more than this model has positions for, {own}")
        size = asked or own
        while not asked and size > 512 and any(d.need > CONTEXT_SHARE * d.have for d in self._demands(size)):
            size //= 2
        for demand in self._demands(size) if asked else ():
            if demand.need > demand.have:
                need, have = demand.need / 2**30, demand.have / 2**30
                raise NoRoom(
                    f"a context of {size} tokens needs {need:.1f} GiB of cache and {have:.1f} GiB are free; ask for a smaller --ctx-size"
                )
        return size

    def _demands(self, context: int) -> list[Demand]:
        """What a cache for one sequence of so many tokens demands of each memory that has a part of it."""
        return demands(self.executable.memories, self._units(context), self.executable.to_come)

    def _units(self, context: int) -> dict[str, int]:
        return {g.name: units_for(g, context, PREFILL_CHUNK) for g in self.executable.state_groups}

    @property
    def is_encoder(self) -> bool:
        """Whether it gives vectors alone, and no text."""
        return "forward" not in self.graph_model.entries

    def must_generate(self) -> None:
        """Raises RequestError for a model that gives vectors alone."""
        if self.is_encoder:
            what = f"{self.checkpoint.path}: {self.checkpoint.architecture} is an encoder"
            raise RequestError(f"{what}, which gives vectors and no text; use model.embed, or `heron embed`")

    # Prompts

    @cached_property
    def template(self) -> ChatTemplate:
        """What makes a conversation a prompt. Raises TemplateError where the model has none, and none that is built in fits."""
        from heron.text.chat import ChatTemplate

        return ChatTemplate.from_tokenizer(self.tokenizer)

    def encode(self, prompt: Prompt) -> list[int]:
        """Text (encoded with the model's special tokens), token ids (as they are) or chat messages (by the template) as ids."""
        if isinstance(prompt, str):
            ids = self.tokenizer.encode(prompt)
        elif messages := [item for item in prompt if isinstance(item, dict)]:
            from heron.text.chat import encode_chat

            ids = encode_chat(self.tokenizer, self.template, messages)
        else:
            ids = [int(item) for item in prompt if not isinstance(item, dict)]
            vocab = self.graph_model.vocab_size
            bad = next((i for i in ids if not 0 <= i < vocab), None)
            if bad is not None:
                raise RequestError(f"token id {bad} is outside the vocabulary of {vocab}")
        if not ids:
            raise RequestError("the prompt is empty")
        return ids

    def splitter(self, ids: SequenceOf[int], constrained: bool = False) -> Splitter:
        """What tells reasoning from the answer to a conversation, by its tokens. A constraint that holds from the first token on leaves no
        reasoning: there all is the answer, unless the template has begun to reason. Raises TemplateError where the model has no template.
        """
        from heron.text.reasoning import Splitter

        found = Splitter.of(self.template.source, self.tokenizer, ids)
        return found if found.reasoning or not constrained else Splitter(None)

    def _fits(self, ids: list[int]) -> None:
        if len(ids) >= self.context_length:
            room = self.context_length
            raise RequestError(f"the prompt has {len(ids)} tokens, the context holds {room}; shorten it, or load with a larger --ctx-size")

    # Generation

    @overload
    def generate(
        self, prompt: Prompt, params: SamplingParams | None = None, *, stream: Literal[False] = False, **sampling: Any
    ) -> Generation: ...
    @overload
    def generate(
        self, prompt: Prompt, params: SamplingParams | None = None, *, stream: Literal[True], **sampling: Any
    ) -> Iterator[Piece]: ...
    def generate(
        self, prompt: Prompt, params: SamplingParams | None = None, *, stream: bool = False, **sampling: Any
    ) -> Generation | Iterator[Piece]:
        """Continue ``prompt``: text, token ids, or chat messages (``[{"role": "user", "content": ...}]``).

        An encoder-decoder reads the prompt with its encoder, and generates from its own start. A constraint holds what follows the
        reasoning that a template has begun.
        Sampling parameters are given as ``params`` or by name (heron.SamplingParams lists them). With ``stream``
        the pieces are yielded as they come. Raises RequestError for a prompt that is empty or does not fit.
        """
        self.must_generate()
        params = (params or SamplingParams()).changed(**sampling)
        ids = self.encode(prompt)
        self._fits(ids)
        chat = not isinstance(prompt, str) and isinstance(prompt[0], dict)
        splitter = self.splitter(ids) if chat and params.constraint is not None else None
        pieces = self._pieces(ids, params, not chat, splitter)
        if stream:
            return pieces
        answer = Generation()
        for piece in pieces:
            answer.add(piece)
        answer.finish_reason, answer.timings = self.finish_reason, self.timings
        return answer

    def _pieces(self, ids: list[int], params: SamplingParams, continues: bool, splitter: Splitter | None) -> Iterator[Piece]:
        begin = time.perf_counter()
        self.timings, self.finish_reason = Timings(), "length"
        ids = self._begin(ids)
        answer = Answer(self.grammars, params, ids, self.context_length - len(ids), continues, splitter=splitter)
        self.seed = answer.seed
        logits = self._prefill(ids)
        self.timings.prompt_seconds = time.perf_counter() - begin
        while not answer.finish_reason:
            piece = answer.push(logits)
            now = time.perf_counter() - begin
            self.timings.first_token_seconds = self.timings.first_token_seconds or now
            self.timings.decode_seconds = now - self.timings.first_token_seconds
            self.finish_reason = answer.finish_reason or "length"
            yield piece
            if not answer.finish_reason:
                logits = self._step([piece.token])
                self.timings.decoded_tokens += 1

    def _begin(self, ids: list[int]) -> list[int]:
        """The tokens that decoding continues: the prompt, or the start token where an encoder reads the prompt, as it now does."""
        start = self.graph_model.decoder_start
        if start is None:
            return ids
        self.hidden(ids)
        self.timings.prompt_tokens = len(ids)
        return [start]

    def _prefill(self, ids: list[int]) -> NDArray[np.float32]:
        """The logits after the last of ``ids``. What the cache already holds of them is not computed again."""
        at = self._sequence.keep_prefix(ids)
        self.timings.cached_tokens = at
        self.timings.prompt_tokens += len(ids) - at
        while True:
            chunk = ids[at : at + PREFILL_CHUNK]
            at += len(chunk)
            logits = self._step(chunk, wanted=at == len(ids))
            if at == len(ids):
                return logits

    def _step(self, tokens: list[int], wanted: bool = True) -> NDArray[np.float32]:
        batch = self._sequence.append(tokens, last_row(tokens) if wanted else [])
        try:
            result = self.executable.run("forward", batch)
        except BaseException:  # Ctrl-C too: what the cache holds of these tokens is unknown
            self._sequence.keep_prefix([])
            raise
        if result.nonfinite.any():
            raise BackendError("the model computed logits that are not finite; its weights may be damaged")
        return result["logits"][0] if wanted else np.zeros(0, np.float32)

    def logits(self, tokens: SequenceOf[int], source: Prompt | None = None, *, begin: int = 0) -> NDArray[np.float32]:
        """float32 [T - begin, vocab]: the logits after each token of a sequence, from token ``begin`` on.

        An encoder-decoder needs the ``source`` that its encoder reads, and ``tokens`` are its decoder's.
        """
        if (source is None) != (self.graph_model.decoder_start is None):
            raise RequestError("logits takes a source where the model is an encoder-decoder, and only there")
        self.must_generate()
        ids = self.encode(list(tokens))
        if len(ids) > self.context_length:
            self._fits(ids)
        if not 0 <= begin < len(ids):
            raise RequestError(f"begin is {begin}, and there are {len(ids)} tokens")
        if source is not None:
            read = self.encode(source)
            self._fits(read)
            self._begin(read)
        return np.concatenate([result["logits"] for result in self.steps(ids, ("logits",), begin)])

    def steps(self, ids: list[int], want: SequenceOf[str], begin: int = 0) -> Iterator[Result]:
        """Read tokens from an empty context, and yield what each step gives of ``want``; logits after those from ``begin`` on."""
        self._sequence.keep_prefix([])
        try:
            for at in range(0, len(ids), PREFILL_CHUNK):
                chunk = ids[at : at + PREFILL_CHUNK]
                batch = self._sequence.append(chunk, range(max(0, begin - at), len(chunk)) if "logits" in want else [])
                yield self.executable.run("forward", batch, want)
        except BaseException:
            self._sequence.keep_prefix([])
            raise

    # Vectors

    def embed(
        self, texts: Iterable[Prompt], pooling: str | None = None, normalize: bool = True, *, truncate: bool = False
    ) -> NDArray[np.float32]:
        """float32 [len(texts), hidden]: a vector for each text (or list of token ids, or chat), of length 1 if ``normalize``.

        ``pooling`` is mean, cls (the first token) or last; None is what the model says, or else mean for encoders and last for
        decoders. With ``truncate`` texts that are too long lose their ends. Raises RequestError for texts that are empty or too long.
        """
        vectors = list(self.embedder.vectors(self.embedder.encode(texts, truncate), pooling, normalize))
        return np.stack(vectors) if vectors else np.zeros((0, self.graph_model.hidden_size), np.float32)

    def hidden(self, ids: list[int]) -> NDArray[np.float32]:
        """float32 [T, hidden]: each token's state after the last norm; the encoder's where an encoder reads the prompt."""
        if "encode" in self.graph_model.entries:
            return self.executable.run("encode", self._sequence.read(ids), ("hidden",))["hidden"]
        return np.concatenate([result["normed"] for result in self.steps(ids, ("normed",))])

    def close(self) -> None:
        """Give memory back. The model cannot be used afterwards."""
        self.executable.close()
        self.checkpoint.close()


def _tokenizer(checkpoint: Checkpoint) -> Tokenizer:
    from heron.text.tokenizer import Tokenizer

    return Tokenizer.from_checkpoint(checkpoint)
