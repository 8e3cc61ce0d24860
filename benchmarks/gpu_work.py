"""What a step must do, what the card can do, and how much of a step the card waited."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial

import torch
from make_model import Shape

from heron.checkpoint.tensor import Tensor


def synchronize(device: str) -> None:
    """Wait until the device has nothing left to do."""
    if (kind := torch.device(device).type) != "cpu":
        getattr(torch, kind).synchronize()


def seconds(work: Callable[[], object], device: str, least: float) -> float:
    """Of one call of ``work``, of which as many are queued as take about ``least`` seconds."""
    work()
    synchronize(device)
    count, taken = 1, 0.0
    while taken < least:
        begin = time.perf_counter()
        for _ in range(count):
            work()
        synchronize(device)
        taken = time.perf_counter() - begin
        count = count if taken >= least else 2 * count
    return taken / count


@dataclass(frozen=True)
class Limits:
    """The card's own: bytes read and written a second by a copy, and multiply-adds (each 2 operations) in bf16 a second."""

    copy: float
    matrix: float

    @staticmethod
    def measured(device: str, tiny: bool) -> Limits:
        nbytes, n = (1 << 24, 256) if tiny else (1 << 30, 8192)
        source = torch.ones(nbytes, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        least = 0.02 if tiny else 0.2
        copy = 2 * nbytes / seconds(partial(target.copy_, source), device, least)
        a, b = (torch.randn(n, n, dtype=torch.bfloat16, device=device) for _ in range(2))
        return Limits(copy, n**3 / seconds(partial(torch.mm, a, b), device, least))


@dataclass(frozen=True)
class Work:
    """What a dense model's steps must read and multiply, whoever computes them."""

    shape: Shape
    weights: int  #: bytes of the matrices that every step multiplies by
    layers: int  #: numbers of those in layers
    head: int

    @staticmethod
    def of(shape: Shape, tensors: dict[str, Tensor]) -> Work:
        matrices = {name: t for name, t in tensors.items() if len(t.shape) == 2 and (shape.tied or name != "token_embd.weight")}
        head = shape.vocab * shape.hidden
        return Work(shape, sum(t.nbytes for t in matrices.values()), sum(t.size for t in matrices.values()) - head, head)

    def decode(self, batch: int, context: int, limits: Limits, kv_bytes: int = 2) -> float:
        """The least seconds of a step: to read the weights once, and each sequence's keys and values; or to multiply."""
        shape = self.shape
        cache = 2 * shape.layers * shape.kv_heads * shape.head_dim * kv_bytes * context * batch
        return max((self.weights + cache) / limits.copy, batch * (self.layers + self.head) / limits.matrix)

    def prefill(self, tokens: int, limits: Limits) -> float:
        """The least seconds of a prompt with one row of logits: each token sees half of the others on average."""
        attention = self.shape.layers * self.shape.heads * self.shape.head_dim * tokens * tokens
        return max((tokens * self.layers + self.head + attention) / limits.matrix, self.weights / limits.copy)


@dataclass(frozen=True)
class Trace:
    """Kernels of some steps: when the device computed, and when it waited, in seconds a step."""

    kernels: float
    busy: float
    waited: float
    longest: float  #: the longest single wait
    most: tuple[tuple[str, float], ...]  #: kernels that take the most time

    @property
    def hidden(self) -> float:
        """The part of the time in which the device computed."""
        return self.busy / (self.busy + self.waited)


def traced(spans: Iterable[tuple[str, float, float]], steps: int) -> Trace:
    """Of kernels (name, begin, end) in seconds, which may overlap. Raises ValueError where there are none."""
    ordered = sorted(spans, key=lambda span: span[1])
    if not ordered:
        raise ValueError("the profiler saw no kernel; is its support for this device installed?")
    waits, busy, by_name = [0.0], 0.0, dict[str, float]()
    end = ordered[0][1]
    for name, begin, stop in ordered:
        if begin > end:
            waits.append(begin - end)
        busy += max(0.0, stop - max(begin, end))
        end = max(end, stop)
        by_name[name] = by_name.get(name, 0.0) + stop - begin
    most = sorted(by_name.items(), key=lambda item: -item[1])[:12]
    return Trace(len(ordered) / steps, busy / steps, sum(waits) / steps, max(waits), tuple((name, taken / steps) for name, taken in most))


def profile(work: Callable[[], object], steps: int, device: str) -> Trace:
    """The trace of ``work``, which computes so many steps. On a CPU torch's ops stand for kernels."""
    from torch.profiler import ProfilerActivity

    cuda = torch.device(device).type == "cuda"
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA if cuda else ProfilerActivity.CPU]) as profiler:
        work()
        synchronize(device)
    events = [e for e in profiler.events() or [] if not cuda or e.device_type == torch.autograd.DeviceType.CUDA]
    return traced([(e.name, e.time_range.start / 1e6, e.time_range.end / 1e6) for e in events], steps)
