"""Steps that are planned and submitted while the one before them runs: the same answers, in the order of calls that leaves no gap."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
from test_engine import assert_nothing_held, drive
from tiny_gguf import write_tiny
from tiny_models import make

import heron
from heron.backends.base import Executable, Result, Ticket
from heron.backends.batch import Batch
from heron.backends.sampling import Sampling
from heron.engine.engine import Engine
from heron.engine.model import Model
from heron.engine.request import Request
from heron.errors import BackendError, HeronError, RequestError

pytest.importorskip("torch")

from heron.backends.torch.executable import TorchExecutable

Asked = tuple[list[int], dict[str, Any]]

#: What the cache holds: full attention; windows; recurrent states; an encoder's output.
KINDS = ["llama3", "gemma3", "qwen3next", "t5"]


@pytest.fixture(scope="module", autouse=True)
def _as_on_a_gpu() -> Iterator[None]:
    """On a CPU nothing overlaps unless it is told to."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TorchExecutable, "samples", True)
        yield


@pytest.fixture(scope="module", params=KINDS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return load("llama3", tmp_path_factory.mktemp("llama"))


def load(name: str, folder: Path) -> Model:
    return heron.load(write_tiny(make(name, folder).folder), backend="torch", device="cpu", threads=1, ctx_size=128, kv_dtype="f32")


class Late(Ticket):
    """A step that is computed when its result is asked for, or that of a later one."""

    def __init__(self, device: LateDevice, number: int) -> None:
        self.device, self.number = device, number

    def result(self) -> Result:
        self.device.calls.append(("result", self.number))
        return self.device.compute(self.number).result()


@dataclass
class LateDevice:
    """In place of an executable's ``submit``: computes nothing until it must, in order, and writes down who was called when."""

    executable: Executable
    calls: list[tuple[str, int]] = field(default_factory=list)
    batches: list[Batch] = field(default_factory=list)
    sampled: list[bool] = field(default_factory=list)
    computed: list[Ticket] = field(default_factory=list)
    broken: int = -1  #: the number of the step that fails

    def __post_init__(self) -> None:
        self._submit, self._waiting = self.executable.submit, []

    def submit(self, entry: str, batch: Batch, want: Iterable[str] = ("logits",), sample: Sampling | None = None) -> Ticket:
        ticket = Late(self, len(self.batches))
        self.calls.append(("submit", ticket.number))
        self.batches.append(batch)
        self.sampled.append(sample is not None)
        self._waiting.append((entry, batch, tuple(want), sample))
        return ticket

    def compute(self, number: int) -> Ticket:
        while len(self.computed) <= number:
            if len(self.computed) == self.broken:
                raise BackendError("the device is lost")
            entry, batch, want, sample = self._waiting[len(self.computed)]
            if isinstance(batch.chained, Late):
                batch = replace(batch, chained=self.computed[batch.chained.number])
            self.computed.append(self._submit(entry, batch, want, sample))
        return self.computed[number]


@pytest.fixture
def late(llama: Model, monkeypatch: pytest.MonkeyPatch) -> LateDevice:
    device = LateDevice(llama.executable)
    monkeypatch.setattr(llama.executable, "submit", device.submit)
    return device


def asked(count: int, vocab: int, longest: int = 70) -> list[Asked]:
    """Some in order that devices take, some that they do not."""
    rng, common, found = random.Random(7), parity.prompt(60, 40), []
    for i in range(count):
        prompt = (common if i % 3 == 0 else []) + parity.prompt(60, rng.randrange(1, longest), i)
        how: dict[str, Any] = {"seed": i, "max_tokens": rng.randrange(1, 24), "temperature": rng.choice([0, 0.7, 1.5])}
        how |= {"ignore_eos": rng.random() < 0.7, "top_k": rng.choice([0, 5, 40]), "min_p": rng.choice([0, 0.05])}
        how["stop_token_ids"] = rng.sample(range(vocab), vocab // 7) if rng.random() < 0.4 else []
        if i % 7 == 6:
            how |= rng.choice([{"repeat_penalty": 1.2}, {"logit_bias": {5: 2.0}}, {"samplers": "ptk"}, {"top_logprobs": 2}])
        found.append((prompt[:longest], how))
    return found


@pytest.mark.parametrize("how", [{"max_seqs": 3, "step_tokens": 7}, {"kv_cache_size": 128, "step_tokens": 16}], ids=str)
def test_answers_are_those_without_overlap(model: Model, how: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone, by the host's sampler; and their log-probabilities."""
    requests = asked(10, model.graph_model.vocab_size)
    expected = [model.generate(prompt, **params) for prompt, params in requests]
    sampled = []
    submit = model.executable.submit
    monkeypatch.setattr(model.executable, "submit", lambda *given: (sampled.append(len(given) == 4), submit(*given))[1])
    with Engine(model, **how) as engine:
        handles = [engine.submit(prompt, **params) for prompt, params in requests]
        drive(engine)
        for handle, one in zip(handles, expected, strict=True):
            answer = handle.result()
            assert (answer.tokens, answer.text, answer.finish_reason) == (one.tokens, one.text, one.finish_reason)
            np.testing.assert_allclose(answer.logprobs, one.logprobs, atol=1e-4)
        assert_nothing_held(engine)
    assert True in sampled and False in sampled


def test_the_next_step_is_submitted_before_the_running_one_is_asked(llama: Model, late: LateDevice) -> None:
    with Engine(llama) as engine:
        handles = [engine.submit(parity.prompt(60, 5 + i), max_tokens=6, ignore_eos=True, seed=i) for i in range(3)]
        drive(engine)
        assert [len(handle.result().tokens) for handle in handles] == [6, 6, 6]
    order = [("submit", 0)]
    for step in range(1, 6):
        order += [("submit", step), ("result", step - 1)]
    assert late.calls == [*order, ("result", 5)]
    assert all(late.sampled)
    assert [len(batch.tokens) for batch in late.batches] == [5 + 6 + 7, 3, 3, 3, 3, 3]  # none is computed that max_tokens leaves out
    assert [batch.chained_from.tolist() for batch in late.batches[1:]] == [[0, 1, 2]] * 5


def test_steps_with_something_for_the_host_are_taken_up_at_once(llama: Model, late: LateDevice) -> None:
    with Engine(llama) as engine:
        plain = engine.submit(parity.prompt(60, 5), max_tokens=12, ignore_eos=True, temperature=0)
        for _ in range(3):
            engine.step()
        other = engine.submit(parity.prompt(60, 6), max_tokens=4, ignore_eos=True, temperature=0, repeat_penalty=1.3)
        drive(engine)
        assert (len(plain.result().tokens), len(other.result().tokens)) == (12, 4)
    first = late.sampled.index(False)
    assert late.sampled == [True] * first + [False] * 4 + [True] * (len(late.sampled) - first - 4)
    for step in range(first, first + 4):
        assert late.calls.index(("result", step)) < late.calls.index(("submit", step + 1))


@pytest.mark.parametrize("at", [1, 2, 16, 17])
def test_who_ends_where_the_host_alone_sees_it(model: Model, at: int) -> None:
    """The token behind the last was computed; it is in no answer, and in nothing that another prompt finds."""
    prompt, how = parity.prompt(60, 30), {"temperature": 0, "max_tokens": 25, "ignore_eos": True, "top_k": 0}
    whole = model.generate(prompt, **how)
    expected = model.generate(prompt, **how, stop_token_ids=[whole.tokens[at]])
    follow = [*prompt, *whole.tokens[:at], 7, 8, 9]
    then = model.generate(follow, **how)
    with Engine(model) as engine:
        by_token = engine.submit(prompt, **how, stop_token_ids=[whole.tokens[at]])
        by_text = engine.submit(prompt, **how, stop=[whole.text[:at]])
        beside = engine.submit(prompt, **how)
        drive(engine)
        assert (by_token.result().tokens, by_token.finish_reason) == (expected.tokens, "stop")
        assert (by_text.result().text, by_text.finish_reason) == ("", "stop")
        assert beside.result().tokens == whole.tokens
        again = engine.submit(follow, **how)
        drive(engine)
        assert again.result().tokens == then.tokens
        assert_nothing_held(engine)


def test_four_hundred_steps_of_accidents(model: Model) -> None:
    """Random arrivals and cancellations in a small cache: what finishes is right, and nothing is kept."""
    rng, requests = random.Random(3), asked(14, model.graph_model.vocab_size)
    expected = [model.generate(prompt, **how) for prompt, how in requests]
    with Engine(model, kv_cache_size=160, max_seqs=4, step_tokens=32) as engine:
        handles: list[tuple[Request, int]] = []
        for _ in range(400):
            if rng.random() < 0.2:
                which = rng.randrange(len(requests))
                handles.append((engine.submit(requests[which][0], priority=rng.randrange(2), **requests[which][1]), which))
            if handles and rng.random() < 0.08:
                engine.cancel(rng.choice(handles[-5:])[0])
            engine.step()
        drive(engine)
        assert_nothing_held(engine)
        ends = {handle.finish_reason for handle, _ in handles}
        assert ends == {"length", "stop", "cancelled"}
    for handle, which in handles:
        said = handle.tokens[handle.prompt_length :]
        if handle.finish_reason == "cancelled":
            assert said == expected[which].tokens[: len(said)]
        else:
            assert (said, handle.finish_reason) == (expected[which].tokens, expected[which].finish_reason)


def test_a_fault_of_one_request_is_its_own(llama: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    expected = llama.generate(parity.prompt(60, 9), **how).tokens
    with Engine(llama) as engine:
        good, bad = (engine.submit(parity.prompt(60, 9), **how) for _ in range(2))
        nothing = engine.submit(parity.prompt(60, 9), **how)
        for _ in range(3):
            engine.step()

        def fail(sampled: object) -> None:
            raise BackendError("no")

        monkeypatch.setattr(bad.answer, "take", fail)
        assert nothing.answer.plain is not None
        nothing.answer.plain = replace(nothing.answer.plain, barred=tuple(range(llama.graph_model.vocab_size)))
        drive(engine)
        assert good.result().tokens == expected
        with pytest.raises(BackendError, match="no"):
            bad.result()
        with pytest.raises(RequestError, match="no token may come next"):
            nothing.result()
        assert_nothing_held(engine)


def test_a_device_that_fails_ends_what_it_computed_and_the_engine_goes_on(llama: Model, late: LateDevice) -> None:
    """The step fills a block of the cache with keys that nobody computed: no other prompt finds it."""
    how = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    with Engine(llama) as engine:
        engine.submit(parity.prompt(60, 40), **how)
        drive(engine)
        late.broken = len(late.batches) + 3
        handles = [engine.submit(parity.prompt(60, 13, i), **how) for i in range(2)]
        drive(engine)
        for handle in handles:
            with pytest.raises(BackendError, match="the device is lost"):
                handle.result()
        assert engine.snapshot().statistics.ended["error"] == 2
        assert_nothing_held(engine)
        late.broken = -1
        assert len(handles[0].tokens) == 16
        again = engine.submit([*handles[0].tokens, 7], **how)
        drive(engine)
        assert (again.timings.cached_tokens, len(again.result().tokens)) == (0, 12)
        before = engine.submit(parity.prompt(60, 40), **how)
        drive(engine)
        assert before.timings.cached_tokens == 0  # who knows what else the device lost


def test_an_engine_may_be_closed_and_another_begun_while_a_step_is_under_way(llama: Model, late: LateDevice) -> None:
    """The cache goes when the step has ended."""
    how = {"temperature": 0, "max_tokens": 12, "ignore_eos": True}
    engine = Engine(llama)
    left = engine.submit(parity.prompt(60, 9), **how)
    engine.step()
    engine.step()
    engine.close()
    assert late.calls == [("submit", 0), ("submit", 1), ("result", 0), ("result", 1)]
    with pytest.raises(HeronError, match="closed"):
        left.result()
    expected = llama.generate(parity.prompt(60, 9), **how).tokens
    with Engine(llama) as again:
        assert again.generate([parity.prompt(60, 9)], **how)[0].tokens == expected


def test_what_is_kept_for_later_prompts_is_what_is_kept_without_overlap(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks, and of recurrent states the last one in the answer."""
    how, cached = {"temperature": 0, "ignore_eos": True, "max_tokens": 50}, []
    for overlaps in (False, True):
        monkeypatch.setattr(TorchExecutable, "samples", overlaps)
        with Engine(model) as engine:
            first, second = (engine.submit(parity.prompt(60, 40), **how) for _ in range(2))
            drive(engine)
            later = engine.submit([*first.tokens, 7, 8], **how)
            drive(engine)
            cached.append([request.timings.cached_tokens for request in (first, second, later)])
    assert cached[0] == cached[1]
    assert cached[0][2] >= 64 or not first.sequence.reusable


def test_nobody_gives_way_to_who_ends_with_the_step_under_way(llama: Model) -> None:
    """One needs a fourth block as the other, whose three it may have, has ended; which the host has yet to see."""
    how: dict[str, Any] = {"temperature": 100, "top_k": 0, "top_p": 1, "min_p": 0, "ignore_eos": True}
    prompt, other = parity.prompt(60, 36), parity.prompt(60, 44, 1)
    seed, end = next(
        (seed, said[4]) for seed in range(50) if (said := llama.generate(prompt, **how, seed=seed, max_tokens=5).tokens).count(said[4]) == 1
    )
    with Engine(llama, kv_cache_size=64) as engine:
        assert engine.cache.total("full") == 6
        short = engine.submit(prompt, **how, seed=seed, stop_token_ids=[end])
        long = engine.submit(other, **how, seed=1, max_tokens=20)
        drive(engine)
        assert (len(short.result().tokens), len(long.result().tokens)) == (4, 20)
        assert engine.scheduler.preemptions == 0


def test_vectors_beside_answers(llama: Model) -> None:
    prompts = [parity.prompt(60, 20 + i, i) for i in range(3)]
    expected, how = llama.embed(prompts), {"temperature": 0, "max_tokens": 20, "ignore_eos": True}
    tokens = llama.generate(prompts[0], **how).tokens
    with Engine(llama, step_tokens=16) as engine:
        request = engine.submit(prompts[0], **how)
        for _ in range(4):
            engine.step()
        np.testing.assert_allclose(engine.embed(prompts), expected, atol=1e-5)
        assert request.result().tokens == tokens
