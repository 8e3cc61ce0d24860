"""The engines of gpu.py: each reads a prompt, and decodes a number of sequences after contexts of a length."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gpu_work import Work, synchronize
from make_model import Shape, tensors

from heron.backends.base import Options, Ticket
from heron.backends.choose import Where, make_ready
from heron.backends.sampling import Sampling
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.tensor import Tensor
from heron.checkpoint.views import Const
from heron.engine.cache import Cache, Sequence, next_step, units_for
from heron.models.registry import build_model


class InMemory(Checkpoint):
    """A model of random weights, without a file and without a tokenizer."""

    def __init__(self, shape: Shape, format: str) -> None:
        self.path, self.source, self.files = Path(f"{shape.architecture}-{format}"), "gguf", []
        self.metadata, self.architecture = Metadata(shape.metadata()), shape.architecture
        self.tensors = {name: t if isinstance(t, Tensor) else Const(t) for name, t in tensors(shape, format).items()}


class Engine(ABC):
    """One model on the device. ``room`` comes before ``decode``."""

    name: str

    @abstractmethod
    def prefill(self, tokens: int) -> float:
        """Seconds of a prompt of so many tokens, up to the token after it."""

    @abstractmethod
    def room(self, batch: int, context: int, steps: int) -> Engine:
        """Make a cache for so many sequences, which hold so many tokens, and will decode so many; ``with`` lets it go."""

    def __enter__(self) -> Engine:
        return self

    @abstractmethod
    def __exit__(self, *_: object) -> None: ...

    @abstractmethod
    def decode(self, steps: int) -> float:
        """Seconds of so many steps, in each of which every sequence goes on by a token, the likeliest."""


class Heron(Engine):
    name = "heron"

    def __init__(self, shape: Shape, format: str, device: str, backend: str = "torch") -> None:
        checkpoint = InMemory(shape, format)
        self.work, self._vocab = Work.of(shape, checkpoint.tensors), shape.vocab
        self.ready = make_ready(build_model(checkpoint), Where(backend, device), Options())
        self._executable, self._sequences, self._last = self.ready.executable, list[Sequence](), None

    def prefill(self, tokens: int) -> float:
        with self.room(1, 0, tokens):
            prompt = np.random.default_rng(0).integers(0, self._vocab, tokens).tolist()
            begin = time.perf_counter()
            self._start(next_step([(self._sequences[0], prompt, (tokens - 1,))]), None).result()
            return time.perf_counter() - begin

    def room(self, batch: int, context: int, steps: int) -> Heron:
        groups = self._executable.state_groups
        units = {group.name: 1 + batch * units_for(group, context + steps, max(context, 1)) for group in groups}
        self._executable.allocate(units)
        cache = Cache(groups, units)
        self._sequences, self._last = [Sequence(cache) for _ in range(batch)], None
        if context:  # how fast keys and values are read does not depend on what they are
            next_step([(sequence, [0] * context, ()) for sequence in self._sequences])
        return self

    def __exit__(self, *_: object) -> None:
        self._sequences, self._last = [], None
        self._executable.allocate({group.name: 2 for group in self._executable.state_groups})

    def decode(self, steps: int) -> float:
        """As an engine does it: a step is queued before the tokens of the one before it have come to the host."""
        begin = time.perf_counter()
        for _ in range(steps):
            batch = next_step([(sequence, [0], (0,)) for sequence in self._sequences])
            if self._last is not None and self._executable.samples:
                batch.chained, batch.chained_from = self._last, np.arange(len(self._sequences), dtype=np.int32)
            ticket = self._start(batch, self._last)
            if self._last is not None:
                self._last.result()
            self._last = ticket
        assert self._last is not None
        self._last.result()
        return time.perf_counter() - begin

    def _start(self, batch: Any, last: Ticket | None) -> Ticket:
        if not self._executable.samples:
            return self._executable.submit("forward", batch)
        zeros, rows = np.zeros(len(batch.rows), np.int64), len(batch.rows)
        greedy = Sampling(
            zeros.astype(np.float64),
            zeros,
            np.ones(rows),
            zeros.astype(np.float64),
            zeros.astype(np.uint64),
            zeros,
            zeros,
            zeros[:, None][:, :0],
        )
        return self._executable.submit("forward", batch, (), greedy)

    def close(self) -> None:
        self._executable.close()


class Transformers(Engine):
    """The same shape in bf16: a static cache, and a compiled forward pass for decoding. ``how`` are torch.compile's arguments."""

    name = "transformers"

    def __init__(self, shape: Shape, device: str, how: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> None:
        import transformers

        sizes: dict[str, Any] = {
            "vocab_size": shape.vocab,
            "hidden_size": shape.hidden,
            "intermediate_size": shape.feed_forward,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.kv_heads,
            "head_dim": shape.head_dim,
            "tie_word_embeddings": shape.tied,
            "max_position_embeddings": 8192,
        }
        configs = {"llama": transformers.LlamaConfig, "qwen3": transformers.Qwen3Config}
        config = configs[shape.architecture](**sizes)
        with torch.device(device):
            self._model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype).eval()
        self._config, self._device, self._cache_of = config, device, transformers.StaticCache
        self._compiled = torch.compile(self._model.forward, **how)
        self._cache: Any = None

    @torch.no_grad()
    def prefill(self, tokens: int) -> float:
        prompt = torch.randint(0, self._config.vocab_size, (1, tokens), device=self._device)
        cache = self._cache_of(config=self._config, max_cache_len=tokens)
        synchronize(self._device)
        begin = time.perf_counter()
        self._model(prompt, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[0, -1].argmax().item()
        return time.perf_counter() - begin

    @torch.no_grad()
    def room(self, batch: int, context: int, steps: int) -> Transformers:
        self._cache = self._cache_of(config=self._config, max_cache_len=context + steps)
        self._tokens = torch.zeros(batch, 1, dtype=torch.long, device=self._device)
        self._place = torch.tensor([[context]], device=self._device)
        part = max(1, 16384 // batch)
        for start in range(0, context, part):
            prompt = torch.zeros(batch, min(part, context - start), dtype=torch.long, device=self._device)
            self._model(prompt, past_key_values=self._cache, use_cache=True, logits_to_keep=1)
        return self

    def __exit__(self, *_: object) -> None:
        self._cache = None
        if torch.device(self._device).type == "cuda":
            torch.cuda.empty_cache()

    @torch.no_grad()
    def decode(self, steps: int) -> float:
        synchronize(self._device)
        begin = time.perf_counter()
        for _ in range(steps):
            places = self._place.expand(len(self._tokens), 1)
            logits = self._compiled(self._tokens, position_ids=places, past_key_values=self._cache, use_cache=True).logits
            self._tokens, self._place = logits[:, -1].argmax(-1, keepdim=True).clone(), self._place + 1
        self._tokens.cpu()
        return time.perf_counter() - begin
