"""The pass for training: a graph without states computes, of whole sequences, what the one with states does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import parity
import pytest
from tiny_models import ENCODERS, EVERY, make

from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.errors import UnsupportedError
from heron.graph.graph import Model
from heron.graph.ops import OPS
from heron.graph.passes.stateless import stateless
from heron.models.registry import build_model


def open_tiny(name: str, folder: Path) -> Model:
    return build_model(Checkpoint(make(name, folder).folder))


@pytest.mark.parametrize("name", [*EVERY, "internlm2"])
def test_whole_sequences_give_the_same(name: str, tmp_path: Path) -> None:
    model = open_tiny(name, tmp_path)
    graph = stateless(model)
    assert not graph.states and not graph.groups and graph.marks.keys() == model.entries["forward"].marks.keys()
    for node in graph.nodes:
        assert not node.reads and not node.writes and OPS[node.op].compose is None
    parts = {0: parity.prompt(60, 30), 1: parity.prompt(60, 9, 1), 2: parity.prompt(60, 30, 2)}
    runner = parity.Runner(model)
    batch = runner.batch(parts)
    executable = parity.reference_backend(replace(model, entries={"forward": graph}), runner.executable.options)
    executable.allocate({})
    alone = Batch(batch.tokens, batch.query_start, batch.context_len, batch.rows)
    got, expected = executable.run("forward", alone)["logits"], runner.executable.run("forward", batch)["logits"]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-5 * expected.std())


@pytest.mark.parametrize("name", ["bert", "eurobert"])
def test_encoders_have_no_states_to_lose(name: str, tmp_path: Path) -> None:
    model = open_tiny(name, tmp_path)
    (entry,) = model.entries
    assert [node.op for node in stateless(model, entry).nodes if node.op == "attend"]


def test_what_needs_another_entry_is_refused(tmp_path: Path) -> None:
    assert "t5" in ENCODERS
    model = open_tiny("t5", tmp_path)
    with pytest.raises(UnsupportedError, match=r"t5 cannot be trained: attend in .* reads .*cross, which another entry writes"):
        stateless(model)
    with pytest.raises(UnsupportedError, match="no entry 'draft'; it has"):
        stateless(model, "draft")
