"""Tokens chosen on a device are those that the engine's sampler chooses on the host."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import parity
import pytest
from numpy.typing import NDArray
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.backends.batch import Batch
from heron.backends.sampling import Sampling
from heron.engine.cache import Cache, Sequence, next_step
from heron.engine.numpy_sampler import NumpySampler
from heron.engine.rules import Rules
from heron.engine.sampling import SamplingParams

torch = pytest.importorskip("torch")

from heron.backends.torch.sample import choose, philox4x32  # noqa: E402

Row = NDArray[np.float32]


def random_rows(rng: np.random.Generator, vocab: int, count: int) -> NDArray[np.float32]:
    """Smooth ones, rounded ones with many ties (as bf16 gives), equal ones, sharp ones, huge ones."""
    x = rng.standard_normal((count, vocab)) * rng.choice([0.1, 1.0, 3.0, 10.0], (count, 1))
    kind = rng.integers(0, 8, count)
    x[kind == 1] = np.round(x[kind == 1] * 2) / 2
    x[kind == 2] = x[kind == 2][:, :1]
    x[kind == 3, rng.integers(vocab)] += 20
    x[kind == 4] *= 1e30
    x[kind == 5] = np.where(np.arange(vocab) % 2, 0.0, -0.0)
    return x.astype(np.float32)


def random_sampling(rng: np.random.Generator, vocab: int, count: int) -> Sampling:
    few = rng.random() < 0.5  # no row asks for the whole vocabulary
    return Sampling(
        temperature=rng.choice([0.0, 1e-300, 0.2, 0.8, 1.0, 2.5, 100.0], count),
        top_k=rng.choice([1, 2, 7, 40] if few else [0, 1, 40, 1000, vocab, vocab + 1, 2**31 - 1], count),
        top_p=rng.choice([1.0, 1.0, 0.0, 1e-6, 0.3, 0.95, 0.9999, rng.random()], count),
        min_p=rng.choice([0.0, 0.0, 0.05, 0.5, 1.0, rng.random()], count),
        seed=rng.integers(0, 2**64, count, np.uint64),
        sample=rng.integers(0, 3, count),
        position=rng.integers(0, 2**40, count),
        barred=rng.integers(-1, vocab, (count, int(rng.integers(0, 3)))) if vocab > 4 else np.zeros((count, 0), np.int64),
    )


def on_the_host(x: Row, how: Sampling, i: int) -> tuple[int, float]:
    """By the definition."""
    params = SamplingParams(
        **{name: float(getattr(how, name)[i]) for name in ("temperature", "top_p", "min_p")}, top_k=int(how.top_k[i]), seed=int(how.seed[i])
    )
    rules = Rules(barred=tuple(token for token in how.barred[i].tolist() if token >= 0))
    found = NumpySampler(params, int(how.sample[i]), rules).sample(x, int(how.position[i]))
    return found.token, found.logprob


@pytest.mark.parametrize(("vocab", "steps"), [(1, 10), (2, 30), (32, 100), (1000, 60), (32000, 3)])
def test_tokens_are_those_of_the_definition(vocab: int, steps: int) -> None:
    """Of thousands of rows, to the last one: both sides add up in f64, and no draw comes that near to a bound."""
    rng = np.random.default_rng(vocab)
    for _ in range(steps):
        x = random_rows(rng, vocab, count := int(rng.integers(1, 40)))
        how = random_sampling(rng, vocab, count)
        tokens, logprobs = choose(torch.from_numpy(x), how)
        for i in range(count):
            token, logprob = on_the_host(x[i], how, i)
            assert int(tokens[i]) == token, f"row {i} of {how}"
            assert abs(float(logprobs[i]) - logprob) <= 1e-6 * max(1.0, abs(logprob), float(np.abs(x[i]).max()))


def test_where_no_token_may_come() -> None:
    how = random_sampling(np.random.default_rng(0), 3, 2)
    barred = np.array([[0, 1, 2], [0, -1, 2]])
    how = Sampling(how.temperature, how.top_k, how.top_p, how.min_p, how.seed, how.sample, how.position, barred)
    assert choose(torch.zeros(2, 3), how)[0].tolist() == [-1, 1]


def test_no_rows() -> None:
    how = random_sampling(np.random.default_rng(0), 3, 0)
    assert [len(part) for part in choose(torch.zeros(0, 3), how)] == [0, 0]


#: From the known-answer file of Random123 (philox4x32, 10 rounds).
KNOWN = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_random_words_are_philox(counter: tuple[int, ...], key: tuple[int, ...], expected: tuple[int, ...]) -> None:
    c0, c1, c2, c3 = (torch.tensor([word]) for word in counter)
    k0, k1 = (torch.tensor([word]) for word in key)
    assert tuple(int(word) for word in philox4x32((c0, c1, c2, c3), (k0, k1))) == expected


def test_a_step_takes_tokens_that_the_one_before_it_sampled(tmp_path: Path) -> None:
    """Without their coming to the host; and logits only where they are wanted."""
    model = heron.load(write_tiny(make("llama3", tmp_path).folder), backend="torch", device="cpu", threads=1, ctx_size=64, kv_dtype="f32")
    executable, prompts = model.executable, [parity.prompt(60, 9), parity.prompt(60, 5, 1)]
    cache = Cache(executable.state_groups, {group.name: 20 for group in executable.state_groups})
    executable.allocate({group.name: 20 for group in executable.state_groups})
    how = random_sampling(np.random.default_rng(5), 60, 2)

    def begin() -> tuple[list[Sequence], Batch]:
        sequences = [Sequence(cache) for _ in prompts]
        return sequences, next_step([(s, prompt, [len(prompt) - 1]) for s, prompt in zip(sequences, prompts, strict=True)])

    sequences, batch = begin()
    first = executable.submit("forward", batch, (), how)
    following = next_step([(s, [-1], [0]) for s in reversed(sequences)])
    following.chained, following.chained_from = first, np.array([1, 0], np.int32)
    second = executable.submit("forward", following, ("logits",), how)
    assert not first.result().arrays
    tokens, logits = first.result().tokens, second.result()["logits"]

    sequences, batch = begin()
    known = executable.run("forward", batch)["logits"]
    assert [on_the_host(known[i], how, i)[0] for i in range(2)] == tokens.tolist()
    again = executable.run("forward", next_step([(sequences[1], [int(tokens[1])], [0]), (sequences[0], [int(tokens[0])], [0])]))
    np.testing.assert_array_equal(logits, again["logits"])
    assert second.result().tokens.tolist() == [on_the_host(logits[i], how, i)[0] for i in range(2)]
