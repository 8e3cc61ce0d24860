"""Triton's attention beside the reference: every mask and score, each stored type, few tokens and many, paged or not."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("triton")

import torch
from numpy.typing import NDArray
from torch import Tensor
from triton_cases import TARGETS, compiles, interpreted

from heron.backends.batch import Batch
from heron.backends.reference import attention as oracle
from heron.backends.torch.decode import Q8_0, dequantize, quantize_q8_0
from heron.backends.torch.triton.attention import FIRST, OCTAVE, Keys, Score, Span
from heron.backends.torch.triton.attention_decode import decode, split_count
from heron.backends.torch.triton.attention_prefill import prefill, tile_rows, tiles_of

PAGE = 8

#: What sums of f32 in another order, and a GPU's exponential, may turn of values near 1.
NEAR = 1e-5


def normal(rng: np.random.Generator, *shape: int) -> NDArray[np.float32]:
    return rng.standard_normal(shape).astype(np.float32)


def ragged(lengths: list[int], contexts: list[int]) -> Batch:
    starts = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return Batch(np.zeros(starts[-1], np.int32), starts, np.array(contexts, np.int32), np.zeros(0, np.int32))


def span_of(batch: Batch) -> Span:
    context = torch.from_numpy(batch.context_len)
    return Span(torch.from_numpy(batch.query_start), context, context)


def paged(rng: np.random.Generator, fields: list[list[NDArray[np.float32]]], window: int, before: NDArray[np.int32]) -> tuple[Any, ...]:
    """Each field's rows of each sequence in shuffled blocks -> entries, table, its start; a window's lost blocks are not there."""
    contexts = [len(rows) for rows in fields[0]]
    starts = np.maximum(0, before - window + 1) // PAGE if window else np.zeros(len(contexts), np.int32)
    width = max(-(-c // PAGE) - s for c, s in zip(contexts, starts, strict=True)) + 1
    blocks = 1 + rng.permutation(len(contexts) * width).reshape(len(contexts), width)
    stores = [normal(rng, (len(contexts) * width + 1) * PAGE, *field[0].shape[1:]) for field in fields]
    for s, (context, start) in enumerate(zip(contexts, starts, strict=True)):
        places = np.arange(start * PAGE, context)
        at = blocks[s, places // PAGE - start] * PAGE + places % PAGE
        for store, field in zip(stores, fields, strict=True):
            store[at] = field[s][places]
    return [torch.from_numpy(x) for x in stores], torch.from_numpy(blocks).int(), torch.from_numpy(np.array(starts)).int()


def stored_as(x: Tensor, stored: str) -> Tensor:
    return quantize_q8_0(x) if stored == "q8_0" else x.half() if stored == "f16" else x


def rounded(x: NDArray[np.float32], stored: str) -> NDArray[np.float32]:
    """What is read again."""
    kept = stored_as(torch.from_numpy(x), stored)
    return (dequantize(Q8_0, kept) if stored == "q8_0" else kept.float()).numpy()


def expected(batch: Batch, q: NDArray[np.float32], keys: list[Any], values: list[Any], score: Score) -> NDArray[np.float32]:
    node: Any = SimpleNamespace(attrs={"scale": score.scale, "softcap": score.softcap})
    weights = [None if w is None else w.numpy() for w in (score.sinks, None, score.slopes)]
    parts = []
    for s in range(batch.sequences):
        mine = slice(batch.query_start[s], batch.query_start[s + 1])
        places = np.arange(len(keys[s]), dtype=np.int32)
        seen = oracle.visible(batch, s, places, score.causal, score.window)
        distance = places[None, :] - batch.places()[mine][:, None]
        parts.append(oracle._attend(node, q[mine], keys[s], values[s], seen, distance, weights))
    return np.concatenate(parts)


def score_of(rng: np.random.Generator, kind: str, heads: int, scale: float) -> Score:
    sinks, slopes = torch.from_numpy(normal(rng, heads)), torch.from_numpy(2.0 ** -np.arange(1, heads + 1, dtype=np.float32))
    return {
        "plain": Score(scale),
        "window": Score(scale, window=21),
        "softcap": Score(scale * 8, softcap=3.0),
        "sinks": Score(scale, sinks=sinks),
        "slopes": Score(scale, slopes=slopes),
        "all": Score(scale * 8, window=50, softcap=3.0, sinks=sinks, slopes=slopes),
        "both ways": Score(scale, causal=False),
        "wide window": Score(scale, window=600),
        "window both ways": Score(scale, causal=False, window=9),
    }[kind]


KINDS = ("plain", "window", "softcap", "sinks", "slopes", "all")


def both(
    batch: Batch, score: Score, heads: int, kv: int, dim: int, values: int, stored: str, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, NDArray[np.float32]]:
    """The same by decode (for short sequences) and prefill (for the others), and by the reference."""
    rng = np.random.default_rng(5)
    q = torch.from_numpy(normal(rng, len(batch.tokens), heads, dim)).to(dtype)
    rows = [[rounded(normal(rng, int(c), kv, n), stored) for c in batch.context_len] for n in (dim, values)]
    stores, table, start = paged(rng, rows, score.window, batch.context_len - batch.lengths())
    keys = Keys(stored_as(stores[0], stored), stored_as(stores[1], stored), None, table, start, PAGE)
    block, short = 16, 4
    y = torch.full((len(q), heads, values), torch.nan, dtype=dtype)
    if (batch.lengths() <= short).any():
        decode(q, keys, score, span_of(batch), short, y)
    prefill(q, keys, score, span_of(batch), torch.from_numpy(tiles_of(batch.lengths(), heads // kv, block, short)), block, y)
    return y, expected(batch, q.float().numpy(), *rows, score)


@interpreted
@pytest.mark.parametrize("kind", KINDS)
def test_a_mixture(kind: str) -> None:
    """Prompts, chunks, drafts and single tokens in one step; contexts over several splits."""
    batch = ragged([1, 19, 3, 1, 40], [300, 70, 131, 1, 40])
    y, wanted = both(batch, score_of(np.random.default_rng(0), kind, 6, 40**-0.5), 6, 2, 40, 40, "f32")
    np.testing.assert_allclose(y, wanted, atol=NEAR)


@interpreted
@pytest.mark.parametrize("stored", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize(("heads", "kv", "dim", "values"), [(4, 4, 32, 64), (7, 1, 96, 32), (20, 2, 32, 160)])
def test_stored_types_and_heads(heads: int, kv: int, dim: int, values: int, stored: str) -> None:
    batch = ragged([1, 2, 9], [30, 137, 25])
    y, wanted = both(batch, Score(dim**-0.5), heads, kv, dim, values, stored)
    np.testing.assert_allclose(y, wanted, atol=NEAR)


@interpreted
@pytest.mark.parametrize("stored", ["f32", "f16", "q8_0"])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float16, 3e-3), (torch.bfloat16, 2e-2)])
def test_half_types(dtype: torch.dtype, bound: float, stored: str) -> None:
    batch = ragged([1, 2, 9], [30, 137, 25])
    y, wanted = both(batch, Score(32**-0.5), 4, 2, 32, 32, stored, dtype)
    assert y.dtype == dtype
    np.testing.assert_allclose(y.float(), wanted, atol=bound)


@interpreted
@pytest.mark.parametrize(("kind", "context"), [("plain", 290), ("window", 290), ("wide window", 1112)])
def test_an_answer_does_not_depend_on_the_step(kind: str, context: int) -> None:
    """A token gets the same bits alone, beside others, and as a draft, where the first split that a window reaches is another."""
    score, rng = score_of(np.random.default_rng(0), kind, 4, 0.2), np.random.default_rng(1)
    rows = [[normal(rng, c, 2, 32) for c in (60, context)] for _ in range(2)]
    stores, table, start = paged(rng, rows, 0, np.zeros(2, np.int32))
    keys, q = Keys(*stores, None, table, start, PAGE), torch.from_numpy(normal(rng, 17, 4, 32))
    together = decode(q, keys, score, span_of(ragged([1, 16], [60, context])), 16)
    for i in (0, 9, 15):
        own = context - 15 + i
        alone = replace(keys, table=table[1:, : -(-own // PAGE)].contiguous(), start=start[1:])
        y = decode(q[1 + i : 2 + i], alone, score, span_of(ragged([1], [own])), 1)
        assert torch.equal(y[0], together[1 + i])


@interpreted
@pytest.mark.parametrize("stored", ["f32", "q8_0"])
def test_latent_attention(stored: str) -> None:
    """One head of keys in two parts, the first of which is the values."""
    rng, batch = np.random.default_rng(2), ragged([1, 2], [140, 31])
    q, q2 = normal(rng, 3, 5, 64), normal(rng, 3, 5, 32)
    rows = [[rounded(normal(rng, int(c), 1, n), stored) for c in batch.context_len] for n in (64, 32)]
    (latent, turned), table, start = paged(rng, rows, 0, batch.context_len)
    keys = Keys(stored_as(latent, stored), None, stored_as(turned, stored), table, start, PAGE)
    y = decode(torch.from_numpy(q), keys, Score(0.1), span_of(batch), 2, q2=torch.from_numpy(q2))
    joined = [np.concatenate(parts, -1) for parts in zip(*rows, strict=True)]
    np.testing.assert_allclose(y, expected(batch, np.concatenate([q, q2], -1), joined, rows[0], Score(0.1)), atol=NEAR)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", ["plain", "both ways", "window both ways"])
def test_tokens_of_the_step_alone(kind: str, dtype: torch.dtype) -> None:
    """Encoders: no cache; keys and values as they are computed."""
    rng, lengths = np.random.default_rng(4), [1, 37, 20]
    batch = ragged(lengths, lengths)
    q, k, v = (torch.from_numpy(normal(rng, 58, heads, 24)).to(dtype) for heads in (4, 2, 2))
    score = score_of(rng, kind, 4, 0.3)
    tiles = torch.from_numpy(tiles_of(batch.lengths(), 2, 16))
    y = prefill(q, Keys(k, v), score, span_of(batch), tiles, 16)
    starts = batch.query_start
    keys, values = ([x[starts[s] : starts[s + 1]].float().numpy() for s in range(3)] for x in (k, v))
    wanted = expected(batch, q.float().numpy(), keys, values, score)
    np.testing.assert_allclose(y.float(), wanted, atol=NEAR if dtype == torch.float32 else 2e-2)


@interpreted
def test_another_sequence_s_keys() -> None:
    """Cross attention: as many keys as the encoder had tokens, none of them later than a query; or no keys at all."""
    rng, batch = np.random.default_rng(6), ragged([3, 1, 2], [9, 5, 2])
    counts = [150, 4, 0]
    q, rows = normal(rng, 6, 4, 32), [[normal(rng, c, 4, 32) for c in counts] for _ in range(2)]
    stores, table, start = paged(rng, rows, 0, np.zeros(3, np.int32))
    span = replace(span_of(batch), lengths=torch.tensor(counts, dtype=torch.int32))
    y = decode(torch.from_numpy(q), Keys(*stores, None, table, start, PAGE), Score(0.2, causal=False), span, 4).numpy()
    wanted = expected(batch, q, [*rows[0][:2], np.zeros((1, 4, 32), np.float32)], [*rows[1][:2], np.zeros((1, 4, 32))], Score(0.2, False))
    np.testing.assert_allclose(y, wanted, atol=NEAR)


def test_splits_cover_all_keys_and_no_more() -> None:
    def begin(i: int) -> int:
        return FIRST * ((OCTAVE + i % OCTAVE) * (1 << (i // OCTAVE)) - OCTAVE)

    for keys in (1, 127, 128, 129, 2048, 2049, 6144, 6145, 131072, 1 << 20):
        count = split_count(keys, 0, 1)
        assert begin(count - 1) < keys <= begin(count)
    assert begin(split_count(1 << 20, 0, 1)) < 1.1 * (1 << 20)
    assert [split_count(keys, 129, 1) for keys in (1, 2, 128, 10000)] == [4, 5, 5, 5]  # up to three before the first


def heads_of(kind: str, stored: str, dtype: torch.dtype) -> tuple[Any, ...]:
    """Queries, keys and span with the sizes of some models; nothing is in them."""
    heads, kv, dim, values, second = {
        "llama": (32, 8, 128, 128, 0),
        "gemma": (8, 4, 256, 256, 0),
        "phi": (32, 32, 96, 96, 0),
        "gpt-oss": (64, 8, 64, 64, 0),
        "deepseek": (128, 1, 512, 512, 64),
    }[kind]
    ints, entries = torch.zeros(5, dtype=torch.int32), 64
    fields = [stored_as(torch.zeros(entries, kv, n), stored) if n else None for n in (dim, values, second)]
    assert fields[0] is not None
    keys = Keys(fields[0], None if second else fields[1], fields[2], torch.zeros(4, 256, dtype=torch.int32), ints, 16)
    q, q2 = torch.empty(4, heads, dim, dtype=dtype), torch.empty(4, heads, second, dtype=dtype) if second else None
    return q, q2, keys, Span(ints, ints[:4], ints[:4])


def compiles_both(target: str, kind: str, stored: str, dtype: torch.dtype, options: str) -> None:
    q, q2, keys, span = heads_of(kind, stored, dtype)
    numbers, tiles = torch.empty(q.shape[1]), torch.zeros(3, 2, dtype=torch.int32)
    score = {"plain": Score(0.1), "all": Score(0.1, True, 128, 30.0, numbers, numbers), "both ways": Score(0.1, False)}[options]
    assert compiles(lambda: decode(q, keys, score, span, 2, q2=q2), target) == 2
    if q2 is None:
        half = dtype != torch.float32
        assert compiles(lambda: prefill(q, keys, score, span, tiles, tile_rows(keys.dims[0], half)), target) == 1


@pytest.mark.parametrize(
    ("kind", "stored", "dtype", "options"),
    [("llama", "f16", torch.bfloat16, "plain"), ("gpt-oss", "q8_0", torch.float16, "all"), ("deepseek", "f16", torch.bfloat16, "plain")],
)
@pytest.mark.parametrize("target", TARGETS)
def test_compiles(target: str, kind: str, stored: str, dtype: torch.dtype, options: str) -> None:
    compiles_both(target, kind, stored, dtype, options)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["plain", "all", "both ways"])
@pytest.mark.parametrize("stored", ["f16", "q8_0", "f32"])
@pytest.mark.parametrize("kind", ["llama", "gemma", "phi", "gpt-oss", "deepseek"])
@pytest.mark.parametrize("target", TARGETS)
def test_all_sizes_compile(target: str, kind: str, stored: str, options: str) -> None:
    compiles_both(target, kind, stored, torch.float32 if stored == "f32" else torch.bfloat16, options)


@pytest.mark.parametrize("target", TARGETS)
def test_smallest_sizes_compile(target: str) -> None:
    """Sizes of 1 are constants to Triton: one token, one block of a table, one split."""
    q, _, keys, span = heads_of("llama", "f16", torch.float16)
    assert keys.table is not None
    one = replace(keys, table=keys.table[:1, :1])
    assert compiles(lambda: decode(q[:1], one, Score(0.1), span, 1), target) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_attention_without_a_cache_compiles(target: str) -> None:
    q, k, v = (torch.empty(4, 12, 64, dtype=torch.bfloat16) for _ in range(3))
    ints = torch.zeros(5, dtype=torch.int32)
    span, tiles = Span(ints, ints[:4], ints[:4]), torch.zeros(3, 2, dtype=torch.int32)
    assert compiles(lambda: prefill(q, Keys(k, v), Score(0.1, False), span, tiles, tile_rows(64, True)), target) == 1
