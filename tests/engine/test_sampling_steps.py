"""Each sampling parameter against its definition: by hand, by published examples, and by counting what is picked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from heron.engine.answer import Answer
from heron.engine.candidates import Candidates, temperature, top_n_sigma, xtc
from heron.engine.grammars import Grammars
from heron.engine.repetition import Breakers, dry
from heron.engine.rules import Rulebook, Rules
from heron.engine.sampler import NumpySampler, make_sampler
from heron.engine.sampling import SAMPLERS, SamplingParams
from heron.errors import RequestError
from heron.text.tokenizer import Tokenizer

both = pytest.mark.parametrize("make", [NumpySampler, make_sampler])
FREE: dict[str, Any] = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": 11}


def candidates(logits: Sequence[float]) -> Candidates:
    return Candidates(np.arange(len(logits)), np.array(logits, np.float64))


def assert_follows(make: Any, logits: Sequence[float], expected: Sequence[float], rules: Rules = Rules(), **how: Any) -> None:
    """By chi-square: 5 standard deviations above its mean, for a fixed seed."""
    count = 4000
    sampler = make(SamplingParams(**(FREE | how)), 0, rules)
    row = np.array(logits, np.float32)
    seen = np.bincount([sampler.sample(row, i).token for i in range(count)], minlength=len(row))
    wanted = np.array(expected) / np.sum(expected) * count
    possible = wanted > 0
    assert not seen[~possible].any()
    freedom = int(possible.sum()) - 1
    chi_square = float((((seen - wanted) ** 2)[possible] / wanted[possible]).sum())
    assert chi_square < freedom + 5 * math.sqrt(2 * max(freedom, 1))


def softmax(logits: Sequence[float]) -> np.ndarray:
    e = np.exp(np.array(logits, np.float64) - max(logits))
    return e / e.sum()


LOGITS = [2.0, 1.5, 1.0, 0.0, -1.0, -3.0]


@both
def test_temperature_divides_and_the_last_step_leaves_what_others_kept(make: Any) -> None:
    assert_follows(make, LOGITS, softmax(np.array(LOGITS) / 2), temperature=2.0)
    # min_p looks at probabilities before the temperature: 1.0 is e^-1 = 0.37 as likely as the likeliest.
    kept = np.where(np.array(LOGITS) >= 2 + math.log(0.3), np.exp(np.array(LOGITS) / 3), 0)
    assert_follows(make, LOGITS, kept, temperature=3.0, min_p=0.3)
    first = [name for name in SAMPLERS.values() if name != "temperature"]
    cooler = np.where(np.array(LOGITS) / 3 >= 2 / 3 + math.log(0.3), np.exp(np.array(LOGITS) / 3), 0)
    assert_follows(make, LOGITS, cooler, temperature=3.0, min_p=0.3, samplers=["temperature", *first])


@both
def test_steps_that_are_not_named_are_not_taken(make: Any) -> None:
    assert_follows(make, LOGITS, softmax(LOGITS), temperature=0.0, top_k=1, samplers=[])
    assert_follows(make, LOGITS, [*softmax(LOGITS)[:2], 0, 0, 0, 0], temperature=5.0, top_k=2, samplers="k")


@pytest.mark.parametrize(("spread", "exponent"), [(0.5, 1.0), (2.0, 1.0), (0.3, 2.5)])
def test_dynamic_temperature_is_its_formula(spread: float, exponent: float) -> None:
    p = softmax(LOGITS)
    share = -(p * np.log(p)).sum() / math.log(len(LOGITS))
    low, high = max(0.0, 0.8 - spread), 0.8 + spread
    expected = low + (high - low) * share**exponent
    c = candidates(LOGITS)
    temperature(c, SamplingParams(temperature=0.8, dynatemp_range=spread, dynatemp_exponent=exponent))
    np.testing.assert_allclose(c.logits, (np.array(LOGITS) - 2) / expected, rtol=1e-12)


def test_dynamic_temperature_lies_between_its_ends() -> None:
    """Where all are alike it is the highest, where one is certain the lowest."""
    params = SamplingParams(temperature=1.0, dynatemp_range=0.5)
    even, sure = candidates([1.0, 1.0, 1.0]), candidates([80.0, 0.0, 0.0])
    temperature(even, params)
    temperature(sure, params)
    assert even.logits.tolist() == [0, 0, 0]
    np.testing.assert_allclose(sure.logits, [0, -160, -160], rtol=1e-6)


def test_top_n_sigma_keeps_what_is_near_the_largest() -> None:
    """Mean 0 and deviation 2 of (4, -1, -1, -1, -1): with n = 2 the bound is 0, with n = 2.5 it is -1, which counts."""
    logits = [4.0, -1.0, -1.0, -1.0, -1.0]
    for n, kept in ((2.0, [0]), (2.5, [0, 1, 2, 3, 4]), (0.0, [0, 1, 2, 3, 4]), (-1.0, [0, 1, 2, 3, 4])):
        c = candidates(logits)
        top_n_sigma(c, SamplingParams(top_n_sigma=n))
        assert c.ids.tolist() == kept


def excluded(probabilities: list[float], chance: float, **how: Any) -> list[int]:
    c = candidates(np.log(probabilities).tolist())
    xtc(c, SamplingParams(**how), chance)
    return c.ids.tolist()


def test_xtc_excludes_all_top_choices_but_the_least_likely() -> None:
    p = [0.05, 0.4, 0.15, 0.3, 0.1]
    assert excluded(p, 0.0, xtc_probability=0.5, xtc_threshold=0.12) == [0, 2, 4]
    assert excluded(p, 0.49, xtc_probability=0.5, xtc_threshold=0.35) == [0, 1, 2, 3, 4]  # one passes, and stays
    assert excluded(p, 0.5, xtc_probability=0.5, xtc_threshold=0.12) == [0, 1, 2, 3, 4]  # by chance not now
    assert excluded(p, 0.0, xtc_probability=1.0, xtc_threshold=0.51) == [0, 1, 2, 3, 4]
    assert excluded(p, 0.0, xtc_probability=1.0, xtc_threshold=0.0) == [0]


@both
def test_xtc_happens_as_often_as_it_should(make: Any) -> None:
    p = np.array([0.5, 0.3, 0.2])
    expected = 0.75 * p + 0.25 * np.array([0, 0, 1])
    assert_follows(make, np.log(p).tolist(), expected, xtc_probability=0.25, xtc_threshold=0.1)


def penalties_of(history: list[int], breakers: Sequence[Sequence[int]] = (), **how: Any) -> dict[int, float]:
    c = candidates([0.0] * 10)
    dry(c, SamplingParams(**({"dry_multiplier": 1.0, "dry_base": 2.0, "dry_allowed_length": 2} | how)), history, Breakers(breakers))
    return {i: -float(x) for i, x in enumerate(c.logits) if x}


def test_dry_penalizes_what_would_lengthen_a_repetition() -> None:
    """The last tokens 1 2 3 came before, and 4 came after them: multiplier * base^(3 - allowed)."""
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3]) == {4: 2.0}
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3], dry_multiplier=0.5, dry_base=3.0, dry_allowed_length=1) == {4: 4.5}
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3], dry_allowed_length=4) == {}
    assert penalties_of([7, 3, 9, 7, 3]) == {9: 1.0}  # two tokens, as many as are allowed, cost the multiplier
    assert penalties_of([2, 3, 4, 1, 2, 3, 5, 1, 2, 3]) == {4: 1.0, 5: 2.0}  # by the longest before each
    assert penalties_of([1, 1, 1, 1]) == {1: 2.0}  # what overlaps itself
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3], dry_penalty_last_n=6) == {}
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3], dry_penalty_last_n=0) == {}
    assert penalties_of([1, 2, 3, 4, 5, 1, 2, 3], dry_multiplier=0.0) == {}
    assert penalties_of([1] * 2000, dry_base=100.0)[1] < 1e39  # finite, however long


def test_dry_does_not_reach_across_breakers() -> None:
    history = [1, 2, 3, 4, 5, 1, 2, 3]
    assert penalties_of(history, [[2]]) == {}  # one token since the breaker
    assert penalties_of(history, [[1]]) == {4: 1.0}
    assert penalties_of(history, [[5, 1]]) == {4: 1.0}
    assert penalties_of(history, [[5, 9], [5]]) == {4: 2.0}


@both
def test_biases_add_and_bar(make: Any) -> None:
    rules = Rules(bias=((1, 1.5), (2, -math.inf), (99, 5.0)))
    assert_follows(make, LOGITS, [*softmax([2.0, 3.0, -math.inf, 0.0, -1.0, -3.0])], rules)


@both
def test_only_allowed_tokens_are_chosen(make: Any) -> None:
    p = softmax(LOGITS)
    assert_follows(make, LOGITS, [0, p[1], 0, p[3], 0, 0], Rules(allowed=(3, 1)))
    assert_follows(make, LOGITS, [0, 0, 0, p[3], 0, 0], Rules(allowed=(3, 1), barred=(1,)))
    with pytest.raises(RequestError, match="no token may come next"):
        make(SamplingParams(), 0, Rules(allowed=(1,), barred=(1,))).sample(np.zeros(3, np.float32), 0)


@both
def test_ends_are_barred_until_there_are_enough_tokens(make: Any) -> None:
    sampler = make(SamplingParams(temperature=0, min_tokens=2), 0, Rules(ends=(1,)))
    row = np.array([0, 5, 1], np.float32)
    assert [sampler.sample(row, i).token for i in range(4)] == [2, 2, 1, 1]


@both
def test_bad_words_are_not_completed(make: Any) -> None:
    sampler = make(SamplingParams(temperature=0), 0, Rules(bad_words=((1, 2), (0, 1, 3), (4,))))
    sampler.accept([0, 1])  # what stands before counts
    row = np.array([0, 1, 5, 4, 6], np.float32)
    assert sampler.sample(row, 0).token == 1
    sampler.accept([2])
    assert [sampler.sample(row, i).token for i in range(2)] == [2, 2]


@both
def test_the_likeliest_are_reported_by_the_models_own_distribution(make: Any) -> None:
    sampler = make(SamplingParams(**(FREE | {"temperature": 9.0, "top_k": 1, "top_logprobs": 3})), 0, Rules(bias=((5, 100.0),)))
    sampled = sampler.sample(np.array(LOGITS, np.float32), 0)
    log_p = np.log(softmax(LOGITS))
    assert sampled.token == 5 and math.isclose(sampled.logprob, log_p[5], rel_tol=1e-6)
    assert [id for id, _ in sampled.top] == [0, 1, 2]
    np.testing.assert_allclose([logprob for _, logprob in sampled.top], log_p[:3], rtol=1e-6)


@pytest.fixture(scope="module")
def tokenizer(shared: Path) -> Tokenizer:
    return Tokenizer.from_file(shared / "data/stories/stories260K-f32.gguf")


def test_breakers_are_tokens_that_hold_a_text_or_begin_it(tokenizer: Tokenizer) -> None:
    rules = Rulebook(tokenizer).of(SamplingParams(dry_multiplier=1.0, dry_sequence_breakers=["\n", "ab"]))
    alone = {head for head, *tail in rules.breakers if not tail}
    assert alone == {id for id in range(512) if b"\n" in tokenizer.token_bytes(id) or b"ab" in tokenizer.token_bytes(id)}
    begun = {head for head, *tail in rules.breakers if tail}
    assert begun == {id for id in range(512) if tokenizer.token_bytes(id).endswith(b"a")}
    assert Rulebook(tokenizer).of(SamplingParams()).breakers == ()


def test_bad_words_may_be_texts(tokenizer: Tokenizer) -> None:
    answers = []
    for words in ((), (" the", (300, 301))):
        answer = Answer(Grammars(tokenizer), SamplingParams(temperature=0, bad_words=words, max_tokens=1), [1], 100, continues=True)
        row = np.zeros(512, np.float32)
        row[tokenizer.encode("the", add_special=False)[0]] = 1
        answers.append(answer.push(row).text)
    assert answers[0] == " the" and answers[1] != " the"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dynatemp_range", -1.0),
        ("top_n_sigma", math.nan),
        ("xtc_probability", 1.5),
        ("xtc_threshold", "a"),
        ("dry_base", -1.0),
        ("dry_allowed_length", 1.5),
        ("dry_sequence_breakers", "\n"),
        ("dry_sequence_breakers", ["x"] * 100),
        ("samplers", ["bottom_k"]),
        ("samplers", "kz"),
        ("samplers", [1]),
        ("logit_bias", {"a": 1}),
        ("logit_bias", {1: math.nan}),
        ("logit_bias", {1: math.inf}),
        ("logit_bias", {-1: 0.0}),
        ("logit_bias", {1: True}),
        ("logit_bias", [[1, 2, 3]]),
        ("logit_bias", 3),
        ("allowed_token_ids", []),
        ("allowed_token_ids", [-1]),
        ("allowed_token_ids", [2**63]),
        ("bad_words", "word"),
        ("bad_words", [""]),
        ("bad_words", [[]]),
        ("bad_words", [[1, "a"]]),
        ("min_tokens", -1),
        ("stop_token_ids", [1.5]),
        ("stop", [""]),
        ("stop", 5),
        ("top_logprobs", 10**9),
        ("ignore_eos", 1),
        ("constraint", "grammar"),
    ],
)
def test_wrong_values_are_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(RequestError, match=name):
        SamplingParams(**{name: value})


@pytest.mark.parametrize("name", ["allowed_token_ids", "stop_token_ids", "bad_words", "logit_bias"])
def test_token_ids_outside_the_vocabulary_are_refused_by_name(tokenizer: Tokenizer, name: str) -> None:
    value = {"bad_words": [[1, 512]], "logit_bias": {512: 1.0}}.get(name, [512])
    with pytest.raises(RequestError, match=f"{name} holds token id 512"):
        Rulebook(tokenizer).of(SamplingParams(**{name: value}))


def test_values_are_taken_in_their_usual_forms() -> None:
    params = SamplingParams(logit_bias={"5": -1, 3: 2.5}, samplers=["temp", "typical_p", "top_k"], stop=["a"], bad_words=["x", [1, 2]])
    assert params.logit_bias == ((3, 2.5), (5, -1.0))
    assert params.samplers == ("temperature", "typ_p", "top_k")
    assert params.bad_words == ("x", (1, 2))
    assert SamplingParams(samplers="edskypmxt") == SamplingParams()
    assert hash(params) == hash(params.changed(seed=None))
    with pytest.raises(RequestError, match="min_tokens"):
        SamplingParams(min_tokens=5, max_tokens=4)


def test_every_parameter_is_documented() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/sampling.md").read_text()
    assert [field.name for field in fields(SamplingParams) if f"| `{field.name}` |" not in page] == []
