"""Grammars: constraints compiled by llguidance for a model's vocabulary, within limits of time, size and number.

llguidance (https://github.com/guidance-ai/llguidance) gives, for what was generated so far, the set of tokens that may come next.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as TimedOut
from functools import cached_property, partial
from typing import TYPE_CHECKING
from weakref import WeakMethod

import numpy as np
from numpy.typing import NDArray

from heron.engine.constrain import KINDS, Constraint
from heron.engine.guide import Guide
from heron.engine.rules import Rulebook
from heron.engine.schema import prepared
from heron.errors import RequestError

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

    from heron.text.tokenizer import Tokenizer

#: Seconds that compiling may take, the wait for other constraints included; how many are compiled beside each other, and kept.
COMPILE_SECONDS, COMPILERS, KEPT = 10.0, 2, 64

#: llguidance recurses as deep as rules refer to rules, and a stack that is too small would end the process. It was seen to take
#: up to 2.0 kB of stack and heap for a byte of a schema, and 0.6 kB for a byte of a grammar. Untouched pages cost nothing.
STACK_BYTES = 1 << 30

#: llguidance's own, where they differ from what it ships with: a step may look at more items, since GBNF is parsed by characters.
LIMITS = {"step_max_items": 200_000, "verbose_errors": False}

#: An ambiguous grammar can keep llguidance busy for seconds within its limits. So each is tried out for some tokens after it was
#: compiled, where nobody waits, and refused if one mask takes so many seconds of a CPU.
TRIAL_TOKENS, TRIAL_SECONDS = 12, 0.5

#: How schemas are read, whatever they say themselves under x-guidance. Between two signs there may be a space, or a new line and its
#: indentation: in more white space models lose their way. A keyword that llguidance does not follow is an error.
SCHEMAS = {
    "item_separator": ",",
    "key_separator": ":",
    "whitespace_flexible": True,
    "whitespace_pattern": r" |\r?\n[ \t]{0,32}",
    "coerce_one_of": False,
    "lenient": False,
}

MASK_THREADS = 4


class Grammars:
    """A model's, and the rules that its parameters come to. Any thread may ask."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer, self.rules = tokenizer, Rulebook(tokenizer)
        self._lock, self._making = threading.Lock(), threading.Lock()
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[Constraint, LLMatcher] = OrderedDict()
        self._coming: dict[Constraint, Future[LLMatcher]] = {}
        self._compilers = threading.BoundedSemaphore(COMPILERS)

    @cached_property
    def _masks(self) -> ThreadPoolExecutor:
        """The threads that compute masks."""
        return ThreadPoolExecutor(MASK_THREADS, "heron-masks")

    @cached_property
    def _waiting(self) -> ThreadPoolExecutor:
        """The threads that wait for compilers."""
        return ThreadPoolExecutor(4 * COMPILERS, "heron-grammars")

    @property
    def vocabulary(self) -> LLTokenizer:
        """llguidance's form of the vocabulary, made on first use: a second for 150,000 tokens."""
        with self._making:
            if self._vocabulary is None:
                from llguidance import LLTokenizer

                words = _Vocabulary(self.tokenizer, WeakMethod(self._greedy))
                self._vocabulary = LLTokenizer(words, n_vocab=len(words.tokens), eos_token=words.ends)  # type: ignore[arg-type]
        return self._vocabulary

    def _greedy(self, text: str) -> list[int]:
        """The longest token each time."""
        assert self._vocabulary is not None
        return self._vocabulary.greedy_tokenize(text)

    def guide(self, constraint: Constraint, ends: Sequence[int]) -> Guide:
        """For one answer; ``ends`` are the tokens that end it. Raises RequestError where the constraint cannot be compiled."""
        matcher = self.compile(constraint).deep_copy()
        return Guide(matcher, self.vocabulary, KINDS[constraint.kind], ends, self._masks, partial(self._forget, constraint))

    def prepare(self, constraint: Constraint) -> Future[LLMatcher]:
        """``compile`` beside what else goes on, for callers that must not wait."""
        return self._waiting.submit(self.compile, constraint)

    def compile(self, constraint: Constraint) -> LLMatcher:
        """A matcher at its beginning, to be copied. It takes milliseconds as a rule, and at most COMPILE_SECONDS.

        Raises RequestError for what is not valid or not supported, what no text satisfies, and what takes too long or too much.
        """
        with self._lock:
            if constraint in self._compiled:
                self._compiled.move_to_end(constraint)
                return self._compiled[constraint]
            coming = self._coming.get(constraint)
            first = coming is None
            if coming is None:
                coming = self._coming[constraint] = Future()
        what = KINDS[constraint.kind]
        if first and not self._compilers.acquire(timeout=COMPILE_SECONDS):
            self._came(constraint, RequestError(f"{what} waited {COMPILE_SECONDS:g} s for others to be compiled; ask again later"))
        elif first:
            try:
                _with_deep_stack(lambda: self._work(constraint))
            except (RuntimeError, ValueError) as error:  # the system has no room for such a thread
                self._compilers.release()
                self._came(constraint, RequestError(f"{what} could not be compiled: {error}"))
        try:
            return coming.result(COMPILE_SECONDS)
        except TimedOut:
            raise RequestError(f"{what} could not be compiled in {COMPILE_SECONDS:g} s; make it simpler") from None

    def _work(self, constraint: Constraint) -> None:
        try:
            self._came(constraint, self._compile(constraint))
        except RequestError as error:
            self._came(constraint, error)
        except BaseException as error:  # nobody may wait for ever
            self._came(constraint, RequestError(f"{KINDS[constraint.kind]} could not be compiled: {error!r:.200}"))
        finally:
            self._compilers.release()

    def _came(self, constraint: Constraint, result: LLMatcher | RequestError) -> None:
        with self._lock:
            coming = self._coming.pop(constraint)
            if not isinstance(result, RequestError):
                self._compiled[constraint] = result
                while len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
        if isinstance(result, RequestError):
            coming.set_exception(result)
        else:
            coming.set_result(result)

    def _compile(self, constraint: Constraint) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        what = KINDS[constraint.kind]
        try:
            matcher = LLMatcher(self.vocabulary, _grammar(constraint), log_level=0, limits=LLParserLimits(**LIMITS))  # type: ignore[arg-type]
        except (ValueError, RecursionError) as error:
            raise RequestError(f"{what} is not valid: {error!s:.300}") from None
        if not matcher.is_error():
            _masked(matcher, what)  # finds out whether there is a first token, and is remembered
        if matcher.is_error():
            raise RequestError(f"{what} cannot be used: {_reason(matcher.get_error())}")
        _try_out(matcher.deep_copy(), what)
        return matcher

    def _forget(self, constraint: Constraint) -> None:
        """Compile it anew next time: what a grammar remembers of all its answers has limits."""
        with self._lock:
            self._compiled.pop(constraint, None)


def _grammar(constraint: Constraint) -> str:
    from llguidance import LLMatcher, regex_to_lark

    if constraint.kind == "regex":
        return LLMatcher.grammar_from_lark(f"start: /{regex_to_lark(constraint.text, 'dw')}/")  # \d and \w are ASCII's, as in JavaScript
    if constraint.kind == "lark":
        return LLMatcher.grammar_from_lark(constraint.text)
    if constraint.kind == "gbnf":
        from heron.engine.gbnf_lark import to_lark

        return LLMatcher.grammar_from_lark(to_lark(constraint.text))
    schema = prepared(constraint.text) if constraint.kind == "json_schema" else {"type": "object"}
    return LLMatcher.grammar_from_json_schema(schema, overrides=SCHEMAS)  # type: ignore[arg-type]


def _masked(matcher: LLMatcher, what: str) -> NDArray[np.uint8]:
    """A bit for each token that may come next. Raises RequestError where that takes too long to find out."""
    begin = time.thread_time()
    mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
    if time.thread_time() - begin > TRIAL_SECONDS:
        raise RequestError(f"{what} is too ambiguous: it takes more than {TRIAL_SECONDS:g} s to find which tokens may come next")
    return mask


def _try_out(matcher: LLMatcher, what: str) -> None:
    """Choose some tokens at random. What fails here would end an answer that comes to it, and that one alone."""
    choose = random.Random(0)
    for _ in range(TRIAL_TOKENS):
        allowed = np.flatnonzero(np.unpackbits(_masked(matcher, what), bitorder="little"))
        if matcher.is_stopped() or not len(allowed) or not matcher.try_consume_tokens([int(choose.choice(allowed))]):
            return


def _reason(error: str) -> str:
    """What llguidance says, without the text that it quotes. It calls a language that has no text "NoExtensionBias"."""
    if "NoExtensionBias" in error:
        return "no text satisfies it"
    lines = [line.strip() for line in error.replace("<non-verbose/>", "").splitlines() if line.strip()]
    said = " ".join([line for line in lines if line.startswith("error")] or lines)
    return said if len(said) <= 300 else said[:300] + " ..."


def _with_deep_stack(call: Callable[[], None]) -> None:
    """Call it in a thread with STACK_BYTES of stack."""
    usual = threading.stack_size(STACK_BYTES)
    try:
        threading.Thread(target=call, name="heron-compile", daemon=True).start()
    finally:
        threading.stack_size(usual)


class _Vocabulary:
    """What llguidance asks of a tokenizer. It keeps this, and Python cannot see that it does: what led back to it would never be freed."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: Tokenizer, greedy: WeakMethod[Callable[[str], list[int]]]) -> None:
        self._tokenizer, self._greedy = tokenizer, greedy
        count = tokenizer.vocab_size
        self.tokens = [tokenizer.token_bytes(id) for id in range(count)]
        self.special_token_ids = [id for id in range(count) if tokenizer.is_special(id)]
        self.ends = sorted(tokenizer.eos_ids)
        if not self.ends:  # a token after the last stands for the end: the sampler never sees it
            self.tokens.append(b"")
            self.special_token_ids.append(count)
            self.ends = [count]
        self.eos_token_id, self.bos_token_id = self.ends[0], tokenizer.bos

    def __call__(self, text: str) -> list[int]:
        """Tokens whose bytes are exactly the text's, as the model would cut it: some tokenizers put a space before a text."""
        whole, mark = text.encode(), "\x02"
        ids = self._tokenizer.encode(mark + text, add_special=False)
        left = sum(len(self.tokens[id]) for id in ids) - len(whole)
        while ids and left > 0:
            left -= len(self.tokens[ids.pop(0)])
        if b"".join(self.tokens[id] for id in ids) == whole:
            return ids
        greedy = self._greedy()
        assert greedy is not None, "whoever has constraints compiled keeps their Grammars"
        return greedy(text)
