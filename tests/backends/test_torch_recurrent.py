"""Recurrences on torch, whose prompts advance by chunks: the reference's numbers, which go token by token."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import parity
import pytest
from tiny_models import make
from torch.utils._python_dispatch import TorchDispatchMode

from heron.backends import torch as on_torch
from heron.backends.base import Executable, Options
from heron.backends.torch import recurrent
from heron.checkpoint.checkpoint import Checkpoint
from heron.graph.graph import Model
from heron.models.registry import build_model

LENGTH = 150


@pytest.fixture(scope="module", params=["mamba", "mamba2", "qwen3next"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Model]:
    made: parity.Tiny = make(request.param, tmp_path_factory.mktemp(request.param))
    with Checkpoint(made.folder) as checkpoint:
        yield build_model(checkpoint)


def prepare(model: Model, options: Options) -> Executable:
    return on_torch.prepare(model, options=options)


def slots(runner: parity.Runner) -> np.ndarray:
    return next(table for name, table in runner.tables.items() if runner.model.groups[name].kind == "slot")


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_long_prompts_and_what_is_saved_within_them(model: Model, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """States are saved at the ends of chunks and between, differently for each sequence, and go on from there."""
    monkeypatch.setattr(recurrent, "CHUNK", chunk)
    monkeypatch.setattr(recurrent, "STATES", 100 * chunk)
    prompts = {0: parity.prompt(60, LENGTH, 1), 1: parity.prompt(60, LENGTH, 2), 2: parity.prompt(60, 64, 3)}
    saved, found = {0: 64, 1: 99, 2: 0}, []
    for by in (prepare, parity.reference_backend):
        runner = parity.Runner(model, by, slots=2)
        held = slots(runner)
        offsets = np.array([[len(tokens), saved[s]] for s, tokens in prompts.items()], np.int32)
        whole = runner.step(prompts, slot_write=held, slot_offset=offsets)
        after = runner.step({s: [5, 6, 7] for s in prompts})
        runner.done = list(saved.values())
        resumed = runner.step({s: tokens[saved[s] :] for s, tokens in prompts.items() if saved[s]}, slot_read=held[:2, 1].copy())
        found.append(np.concatenate([part["logits"] for results in (whole, after, resumed) for part in results.values()]))
    assert parity.difference(*found) <= parity.TOLERANCE


def test_prompts_do_not_advance_token_by_token(model: Model) -> None:
    class Count(TorchDispatchMode):
        launched = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.launched += 1
            return func(*args, **(kwargs or {}))

    def launches(tokens: int) -> int:
        runner = parity.Runner(model, prepare)
        with Count() as count:
            runner.step({0: parity.prompt(60, tokens)})
        return count.launched

    assert launches(192) - launches(64) < launches(64)  # two more chunks: less than a prompt of one takes
