"""Heron and llama.cpp behind the same few lines: forget everything, compute a step of some sequences' tokens.

A step is a list of parts, one a sequence: (its number, its next tokens, whether the logits of the last are wanted).
"""

from __future__ import annotations

import ctypes
import time
from abc import ABC, abstractmethod

Part = tuple[int, list[int], bool]

#: Tokens of a step at most.
STEP = 512


class Engine(ABC):
    """A model loaded for up to ``sequences`` of up to ``context`` tokens."""

    vocab: int
    kv_bytes: int  #: of the keys and values of one token
    imports: float  #: seconds that importing the engine took

    @abstractmethod
    def settle(self) -> None:
        """Return when it is as fast as it will be."""

    @abstractmethod
    def begin(self) -> None:
        """Forget all sequences."""

    @abstractmethod
    def step(self, parts: list[Part]) -> None:
        """Compute the parts, and wait for them."""

    def read(self, prompts: list[list[int]]) -> None:
        """A prompt more for each sequence, in steps of up to STEP tokens."""
        parts: list[Part] = []
        for number, prompt in enumerate(prompts):
            for at in range(0, len(prompt), STEP):
                chunk = prompt[at : at + STEP]
                if sum(len(tokens) for _, tokens, _ in parts) + len(chunk) > STEP:
                    self.step(parts)
                    parts = []
                parts.append((number, chunk, at + len(chunk) == len(prompt)))
        self.step(parts)


class Heron(Engine):
    def __init__(self, path: str, threads: int, context: int, sequences: int) -> None:
        start = time.perf_counter()
        import heron
        from heron.engine import cache

        self._cache, self._sequences = cache, sequences
        self.imports = time.perf_counter() - start
        self._model = heron.load(path, backend="native", threads=threads, ctx_size=context)
        self._executable = self._model.executable
        self.vocab = self._model.graph_model.vocab_size
        self._groups = self._executable.state_groups
        self.kv_bytes = sum(group.unit_bytes // group.block_size for group in self._groups if group.kind == "token")
        self._units = {group.name: 1 + sequences * (cache.units_for(group, context, STEP) - 1) for group in self._groups}
        self._executable.allocate(self._units)
        self.begin()

    def settle(self) -> None:
        self._executable.wait()

    def begin(self) -> None:
        empty = self._cache.Cache(self._groups, self._units)
        self._held = [self._cache.Sequence(empty) for _ in range(self._sequences)]

    def step(self, parts: list[Part]) -> None:
        step = [(self._held[number], tokens, [len(tokens) - 1] if wanted else []) for number, tokens, wanted in parts]
        self._executable.run("forward", self._cache.next_step(step))


class LlamaCpp(Engine):
    def __init__(self, path: str, threads: int, context: int, sequences: int) -> None:
        start = time.perf_counter()
        import llama_cpp as peer

        self.imports = time.perf_counter() - start
        self._peer = peer
        self._quiet = peer.llama_log_callback(lambda level, text, data: None)  # kept: the library calls it as long as the process lives
        peer.llama_log_set(self._quiet, ctypes.c_void_p(0))
        peer.llama_backend_init()
        model = peer.llama_model_load_from_file(path.encode(), peer.llama_model_default_params())
        assert model, f"llama.cpp does not load {path}"
        params = peer.llama_context_default_params()
        params.n_ctx, params.n_seq_max = context * sequences, sequences
        params.n_batch = params.n_ubatch = STEP
        params.n_threads = params.n_threads_batch = threads
        self._context = peer.llama_init_from_model(model, params)
        self._batch = peer.llama_batch_init(STEP, 0, 1)
        self.vocab = peer.llama_vocab_n_tokens(peer.llama_model_get_vocab(model))
        self.kv_bytes = 0  # not asked for: Heron's are the same keys and values
        self._places = [0] * sequences

    def settle(self) -> None:
        """It is, once it is loaded."""

    def begin(self) -> None:
        self._peer.llama_memory_clear(self._peer.llama_get_memory(self._context), True)
        self._places = [0] * len(self._places)

    def step(self, parts: list[Part]) -> None:
        batch, at = self._batch, 0
        for number, tokens, wanted in parts:
            for i, token in enumerate(tokens):
                batch.token[at], batch.pos[at] = token, self._places[number] + i
                batch.n_seq_id[at], batch.seq_id[at][0] = 1, number
                batch.logits[at] = wanted and i == len(tokens) - 1
                at += 1
            self._places[number] += len(tokens)
        batch.n_tokens = at
        code = self._peer.llama_decode(self._context, batch)
        assert code == 0, f"llama_decode returned {code}"
        self._peer.llama_synchronize(self._context)


ENGINES: dict[str, type[Engine]] = {"heron": Heron, "llama.cpp": LlamaCpp}
