"""A token for each row of logits, without sorting them: a program a row.

The steps that narrow (top_k, top_p, min_p) leave a beginning of the falling order, the lower id first among equals: all whose logit is
above a threshold, and of those that equal it the ones up to an id. The threshold is found by bisection, over integers that grow as floats.
With a small ``top_k`` few are looked at: as many lanes as it says have a largest logit that is not below some bound, so that nothing below
it is among the k largest, and what is not below is listed once. Probabilities are added up in f32, by each lane its own.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from heron.backends.torch.triton.launch import power_of_two

#: Candidates that a row lists at most; where there are more, the whole row is looked at.
LISTED = 4096

_LEAST = tl.constexpr(-(1 << 31))  # the key of nothing


@triton.jit
def _key(x):
    """An integer that grows as x does; zeros have one sign."""
    bits = tl.where(x == 0, 0.0, x).to(tl.int32, bitcast=True)
    return tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)


@triton.jit
def _number(key):
    """What has this key."""
    return tl.where(key < 0, key ^ 0x7FFFFFFF, key).to(tl.float32, bitcast=True)


@triton.jit
def _candidates(x_ptr, list_ptr, start, count, listed, BLOCK: tl.constexpr):
    """Ids, logits and keys of the candidates from ``start`` on, in the order of ids."""
    at = start + tl.arange(0, BLOCK)
    inside = at < count
    ids = tl.where(listed, tl.load(list_ptr + at, inside & listed, 0), at)
    x = tl.load(x_ptr + ids, inside, 0.0)
    return ids, x, tl.where(inside, _key(x), _LEAST)


@triton.jit
def _from(x_ptr, list_ptr, count, listed, low, threshold, last, top, WEIGHED: tl.constexpr, BLOCK: tl.constexpr):
    """How many of those kept have keys of at least ``low``; or (weighed) the sum of their probabilities as parts of the likeliest one's."""
    total = tl.zeros([BLOCK], tl.float32) if WEIGHED else tl.zeros([BLOCK], tl.int32)
    for start in range(0, count, BLOCK):
        ids, x, key = _candidates(x_ptr, list_ptr, start, count, listed, BLOCK)
        kept = (key > _LEAST) & (key >= low) & ((key > threshold) | ((key == threshold) & (ids <= last)))
        if WEIGHED:
            total += tl.where(kept, tl.exp(x - top), 0.0)
        else:
            total += kept.to(tl.int32)
    return tl.sum(total, 0)


@triton.jit
def _nth(x_ptr, list_ptr, count, listed, wanted, n, BLOCK: tl.constexpr):
    """The id of the n-th candidate with this key, counted from 1; one behind all where there are fewer."""
    seen = tl.zeros([], tl.int32)
    found = tl.full([], 0x7FFFFFFF, tl.int32)
    for start in range(0, count, BLOCK):
        ids, _x, key = _candidates(x_ptr, list_ptr, start, count, listed, BLOCK)
        equal = (key == wanted).to(tl.int32)
        found = tl.minimum(found, tl.min(tl.where((equal > 0) & (seen + tl.cumsum(equal, 0) == n), ids, 0x7FFFFFFF), 0))
        seen += tl.sum(equal, 0)
    return found


@triton.jit
def _list(x_ptr, list_ptr, n, low, LIMIT: tl.constexpr, BLOCK: tl.constexpr):
    """Write down the ids of those with keys of at least ``low``, as many as there is room for; how many there are."""
    seen = tl.zeros([], tl.int32)
    for start in range(0, n, BLOCK):
        ids, _x, key = _candidates(x_ptr, list_ptr, start, n, False, BLOCK)
        chosen = ((key > _LEAST) & (key >= low)).to(tl.int32)
        place = seen + tl.cumsum(chosen, 0) - 1
        tl.store(list_ptr + place, ids, (chosen > 0) & (place < LIMIT))
        seen += tl.sum(chosen, 0)
    tl.debug_barrier()  # other threads of the program read it
    return seen


@triton.jit
def _uniform(counters_ptr, row, rows):
    """In [0, 1): heron/engine/random.py, as far as f32 goes."""
    seed, sample, position = tl.load(counters_ptr + row), tl.load(counters_ptr + rows + row), tl.load(counters_ptr + 2 * rows + row)
    zero = tl.zeros([], tl.uint32)
    first, second, _, _ = tl.philox(seed, position.to(tl.uint32), (position >> 32).to(tl.uint32), sample.to(tl.uint32), zero)
    return first.to(tl.float32) * 2.0**-32 + second.to(tl.float32) * 2.0**-64


@triton.jit
def _shares(x_ptr, list_ptr, start, count, listed, threshold, last, top, log_min, temperature, BLOCK: tl.constexpr):
    """Ids, and the probabilities of what is left by all steps as parts of the likeliest one's."""
    ids, x, key = _candidates(x_ptr, list_ptr, start, count, listed, BLOCK)
    kept = (key > _LEAST) & ((key > threshold) | ((key == threshold) & (ids <= last))) & (x - top >= log_min)
    return ids, tl.where(kept, tl.exp((x - top) / temperature), 0.0)


@triton.jit(do_not_specialize=["rows"])
def _pick(x_ptr, list_ptr, k_ptr, settings_ptr, counters_ptr, tokens_ptr, n, rows, LIMIT: tl.constexpr, BLOCK: tl.constexpr):
    """x f32[rows, n] -> a token. k[rows]; settings f32 [3, rows]: top_p (inf: off), log of min_p, temperature; counters i64 [3, rows]."""
    row = tl.program_id(0)
    x_ptr += row.to(tl.int64) * n
    list_ptr += row.to(tl.int64) * LIMIT
    k = tl.load(k_ptr + row)
    p, log_min, temperature = tl.load(settings_ptr + row), tl.load(settings_ptr + rows + row), tl.load(settings_ptr + 2 * rows + row)

    largest = tl.full([BLOCK], _LEAST, tl.int32)  # of each lane
    for start in range(0, n, BLOCK):
        _ids, _x, key = _candidates(x_ptr, list_ptr, start, n, False, BLOCK)
        largest = tl.maximum(largest, key)
    highest = tl.max(largest, 0)
    top = _number(highest)

    # As many lanes as k have something that is not below ``low``: what is below is not among the k largest.
    low, high = tl.full([], _LEAST, tl.int64), highest.to(tl.int64)
    while (k <= BLOCK) & (low < high):
        middle = (low + high + 1) >> 1
        enough = tl.sum((largest >= middle).to(tl.int32), 0) >= k
        low, high = tl.where(enough, middle, low), tl.where(enough, high, middle - 1)
    count, listed = n, k < 0
    if k <= BLOCK:
        found = _list(x_ptr, list_ptr, n, low, LIMIT, BLOCK)
        listed = found <= LIMIT
        count = tl.where(listed, found, n)

    threshold, last = tl.full([], _LEAST, tl.int64), tl.full([], 0x7FFFFFFF, tl.int32)
    if k < n:
        high = highest.to(tl.int64)
        while low < high:
            middle = (low + high + 1) >> 1
            enough = _from(x_ptr, list_ptr, count, listed, middle, threshold, last, top, False, BLOCK) >= k
            low, high = tl.where(enough, middle, low), tl.where(enough, high, middle - 1)
        above = _from(x_ptr, list_ptr, count, listed, low + 1, threshold, last, top, False, BLOCK)
        threshold, last = low, _nth(x_ptr, list_ptr, count, listed, low, k - above, BLOCK)

    if p < 1:
        goal = p * _from(x_ptr, list_ptr, count, listed, threshold, threshold, last, top, True, BLOCK)
        low, high = threshold, highest.to(tl.int64)
        while low < high:
            middle = (low + high + 1) >> 1
            enough = _from(x_ptr, list_ptr, count, listed, middle, threshold, last, top, True, BLOCK) >= goal
            low, high = tl.where(enough, middle, low), tl.where(enough, high, middle - 1)
        above = _from(x_ptr, list_ptr, count, listed, low + 1, threshold, last, top, True, BLOCK)
        each = tl.exp(_number(low.to(tl.int32)) - top)
        wanted = tl.maximum(tl.ceil((goal - above) / each), 1.0).to(tl.int32)
        until = _nth(x_ptr, list_ptr, count, listed, low, wanted, BLOCK)
        threshold, last = low, tl.where(low == threshold, tl.minimum(last, until), until)

    total = tl.zeros([], tl.float32)
    for start in range(0, count, BLOCK):
        _ids, share = _shares(x_ptr, list_ptr, start, count, listed, threshold, last, top, log_min, temperature, BLOCK)
        total += tl.sum(share, 0)
    target = _uniform(counters_ptr, row, rows) * total
    before, token, fallback = tl.zeros([], tl.float32), tl.full([], 0x7FFFFFFF, tl.int32), tl.zeros([], tl.int32)
    for start in range(0, count, BLOCK):
        ids, share = _shares(x_ptr, list_ptr, start, count, listed, threshold, last, top, log_min, temperature, BLOCK)
        passed = (share > 0) & (before + tl.cumsum(share, 0) > target)
        token = tl.minimum(token, tl.min(tl.where(passed, ids, 0x7FFFFFFF), 0))
        fallback = tl.maximum(fallback, tl.max(tl.where(share > 0, ids, 0), 0))
        before += tl.sum(share, 0)
    tl.store(tokens_ptr + row, tl.where(token < n, token, fallback))


def pick(x: Tensor, top_k: Tensor, settings: Tensor, counters: Tensor) -> Tensor:
    """x f32 [R, V] -> int32 [R]. ``top_k`` i32 [R], V is off; ``settings`` f32 [3, R]: top_p (inf is off), the logarithm of min_p, and the
    temperature, which is not 0; ``counters`` i64 [3, R]: seed, sample, position."""
    rows, n = x.shape
    x, tokens = x.contiguous(), torch.empty(rows, dtype=torch.int32, device=x.device)
    listed, block = torch.empty(rows, LISTED, dtype=torch.int32, device=x.device), min(2048, power_of_two(n))
    if rows:
        sizes = {"LIMIT": LISTED, "BLOCK": block, "num_warps": min(16, max(1, block // 128))}
        _pick[(rows,)](x, listed, top_k, settings, counters, tokens, n, rows, **sizes)
    return tokens
