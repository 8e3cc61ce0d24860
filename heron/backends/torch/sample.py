"""Choosing tokens on the device, by torch's ops: the steps of heron/engine/candidates.py that most requests take, for all rows at once.

Where Triton compiles for the device, one kernel does it (triton/sampling.py). Torch's ops put a row's candidates in falling order (the
lower id first among equals) by one integer key each, as many of them as ``top_k`` leaves; from there on it is computed in f64, where the
device has it, as on the host. Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from heron.backends.sampling import ROUNDING, Sampling
from heron.backends.torch.triton.launch import usable

_WORD = 0xFFFFFFFF


def choose(logits: Tensor, how: Sampling) -> tuple[Tensor, Tensor]:
    """Logits [R, V] -> tokens int32 [R], -1 where none may come, and their log-probabilities f32 [R] by the model's own distribution."""
    x = logits.float()
    allowed = _without(x, how.barred)
    tokens = _way(x.device)(allowed, how)
    logprobs = x.gather(-1, tokens[:, None])[:, 0] - x.logsumexp(-1)
    return torch.where(allowed.amax(-1) > -torch.inf, tokens, -1).int(), logprobs


@cache
def _way(device: torch.device) -> Callable[[Tensor, Sampling], Tensor]:
    return _by_triton if usable(device) else _by_torch


def _by_torch(x: Tensor, how: Sampling) -> Tensor:
    """Tokens int64 [R]."""
    tokens, drawn = x.argmax(-1), np.flatnonzero(~how.greedy)  # the first among equals
    if not len(drawn):
        return tokens
    at = _sent(drawn, x.device)
    return tokens.index_copy(0, at, _pick(x if len(drawn) == len(x) else x[at], how.of(drawn)))


def _by_triton(x: Tensor, how: Sampling) -> Tensor:
    """Tokens int64 [R]. The likeliest is the first one by top_k."""
    from heron.backends.torch.triton.sampling import pick

    top_k, bounds, logs = _bounds(how, x.shape[-1])
    settings = np.stack([np.where(how.greedy, np.inf, bounds), logs, np.where(how.greedy, 1, np.maximum(how.temperature, 1e-30))])
    k = np.where(how.greedy, 1, top_k).astype(np.int32)
    return pick(x, _sent(k, x.device), _sent(settings.astype(np.float32), x.device), _sent(_counters(how), x.device)).long()


def _sent(array: NDArray[np.generic], device: torch.device) -> Tensor:
    """CUDA takes what is small at once; elsewhere the host's memory must last until it is there."""
    return torch.from_numpy(np.array(array)).to(device, non_blocking=device.type == "cuda")


def _without(x: Tensor, barred: NDArray[np.int64]) -> Tensor:
    row, place = np.nonzero((barred >= 0) & (barred < x.shape[-1]))
    if not len(row):
        return x
    where = _sent(row, x.device), _sent(barred[row, place], x.device)
    return x.index_put(where, torch.full((), -torch.inf, device=x.device))


def _bounds(how: Sampling, vocab: int) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """What top_k, top_p and min_p compare with: a count, a sum of probabilities, a difference of logits. What is off keeps all."""
    top_k = np.where(how.top_k > 0, np.minimum(how.top_k, vocab), vocab)
    logs = np.log(how.min_p, where=how.min_p > 0, out=np.full(len(how.min_p), -np.inf))
    return top_k, np.where(how.top_p < 1, how.top_p - ROUNDING, np.inf), logs


def _counters(how: Sampling) -> NDArray[np.int64]:
    """[3, R] what a row's random number depends on."""
    return np.stack([how.seed.view(np.int64), how.sample, how.position])


def _pick(x: Tensor, how: Sampling) -> Tensor:
    """int64 [R]: a token for each row of x [R, V], none of them greedy."""
    wide = torch.float32 if x.device.type in ("mps", "xpu") else torch.float64
    top_k, bounds, logs = _bounds(how, x.shape[-1])
    settings = np.stack([top_k, bounds, logs, how.temperature]).astype(np.float64 if wide == torch.float64 else np.float32)
    k, p, log_min, temperature = _sent(settings, x.device)[:, :, None]

    ids, falling = _falling(x, int(top_k.max()))
    falling = falling.to(wide)
    rank = torch.arange(falling.shape[-1], device=x.device)
    keep = rank < k
    probability = _share(falling, keep)
    before = probability.cumsum(-1) - probability
    keep = keep & ((before < p) | (rank == 0))
    keep = keep & (falling >= falling[:, :1] + log_min)
    share = _share((falling - falling[:, :1]) / temperature, keep)
    by_id = ids.argsort(-1)
    total = share.gather(-1, by_id).cumsum(-1)
    passed = (total <= _uniform(how, x.device, wide)[:, None] * total[:, -1:]) & (total < total[:, -1:])
    return ids.gather(-1, by_id.gather(-1, passed.sum(-1, keepdim=True)))[:, 0]


def _falling(x: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Ids and logits [N, count] of the largest, falling, the lower id first among equals: each candidate is one integer."""
    bits = (x + 0.0).view(torch.int32)  # a zero has one sign
    order = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).long()  # grows as the number does
    keys = (order << 32) + (_WORD - torch.arange(x.shape[-1], device=x.device))
    largest = keys.topk(count).values if count < x.shape[-1] else keys.sort(descending=True).values
    ids = _WORD - (largest & _WORD)
    return ids, x.gather(-1, ids)


def _share(x: Tensor, keep: Tensor) -> Tensor:
    """Probabilities of falling logits, of those that are kept."""
    e = torch.where(keep, (x - x[:, :1]).exp(), 0)
    return e / e.sum(-1, keepdim=True)


def philox4x32(counter: tuple[Tensor, Tensor, Tensor, Tensor], key: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Philox4x32-10 (Salmon et al. 2011): four words from a counter of four and a key of two, each in an int64."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        low, high = 0xD2511F53 * c0, 0xCD9E8D57 * c2  # the sign is the 64th bit
        c0, c1, c2, c3 = (high >> 32 & _WORD) ^ c1 ^ k0, high & _WORD, (low >> 32 & _WORD) ^ c3 ^ k1, low & _WORD
        k0, k1 = k0 + 0x9E3779B9 & _WORD, k1 + 0xBB67AE85 & _WORD
    return c0, c1, c2, c3


def _uniform(how: Sampling, device: torch.device, wide: torch.dtype) -> Tensor:
    """[R] in [0, 1), of 53 random bits: heron/engine/random.py."""
    seed, sample, position = _sent(_counters(how), device)
    counter = (position & _WORD, position >> 32 & _WORD, sample & _WORD, torch.zeros_like(sample))
    words = philox4x32(counter, (seed & _WORD, seed >> 32 & _WORD))
    return ((words[0] << 21) ^ (words[1] >> 11)).to(wide) * 2.0**-53
