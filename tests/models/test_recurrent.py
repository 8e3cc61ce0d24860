"""Recurrent families against transformers; prefixes resumed from snapshots and drafts rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import transformers as tf
from ranks import in_ranks
from tiny_recurrent import MAMBA2, RECURRENT

from heron.backends.reference.state import state_groups
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.views import Reshape
from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import Model
from heron.models.registry import build_model


@pytest.fixture(scope="module", params=RECURRENT)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(RECURRENT[request.param](), tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def model(made: parity.Tiny) -> Model:
    return build_model(Checkpoint(made.folder))


@pytest.mark.covers("logits", "reference")
def test_every_way_of_computing_gives_transformers_logits(made: parity.Tiny) -> None:
    parity.check_parity(made)


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    tried = {key.partition(".")[2] for key in parity.check_sensitive(made)}
    assert {"attention.layer_norm_rms_epsilon", "ssm.inner_size", "ssm.state_size", "ssm.conv_kernel", "ssm.time_step_rank"} <= tried
    assert ("ssm.group_count" in tried) == (made.hf.config.model_type == "mamba2")


def test_what_a_token_leaves_is_seen_long_after(made: parity.Tiny) -> None:
    """The comparison can see the state: a token beyond the convolution's reach moves the last logits."""
    tokens = parity.prompt(61, 40)
    others = [tokens[0] ^ 1, *tokens[1:]]
    assert parity.difference(made.expected(others)[-1], made.expected(tokens)[-1]) > 10 * parity.TOLERANCE


@pytest.mark.covers("GGUF", "reference")
def test_written_as_gguf_it_computes_the_same(made: parity.Tiny, model: Model, tmp_path: Path) -> None:
    checkpoint, tokens = Checkpoint(made.folder), parity.prompt(61, 40)
    write_gguf(tmp_path / "tiny.gguf", checkpoint.metadata, checkpoint.tensors)
    got = parity.whole(parity.Runner(build_model(Checkpoint(tmp_path / "tiny.gguf"))), tokens)
    np.testing.assert_array_equal(got, parity.whole(parity.Runner(model), tokens))


def test_all_state_is_in_one_slot_in_f32(model: Model) -> None:
    (rounded,), (exact,) = (state_groups(model, dtype) for dtype in ("f16", "f32"))
    assert rounded == exact
    assert rounded.kind == "slot"


def test_prefix_resumed_from_a_snapshot(model: Model, made: parity.Tiny) -> None:
    """A snapshot taken inside a step serves another sequence, beside the first one."""
    runner, at = parity.Runner(model, slots=2), 21
    first, second = parity.prompt(61, 40), parity.prompt(61, 15, seed=1)
    slots = runner.tables["recurrent"]
    snapshot = slots[0, 1]
    runner.step({0: first}, slot_write=np.array([[slots[0, 0], snapshot]], np.int32), slot_offset=np.array([[40, at]], np.int32))
    runner.done[1] = at
    resumed = runner.step({0: second[:3], 1: second}, slot_read=np.array([slots[0, 0], snapshot], np.int32))
    assert parity.difference(resumed[1]["logits"], made.expected(first[:at] + second)[at:]) <= parity.TOLERANCE
    assert parity.difference(resumed[0]["logits"], made.expected(first + second[:3])[40:]) <= parity.TOLERANCE


@pytest.mark.parametrize("accepted", [0, 2, 4])
def test_drafts_rolled_back(model: Model, made: parity.Tiny, accepted: int) -> None:
    """A step of one token and four drafts leaves a snapshot after each; ``accepted`` drafts stay, the others are forgotten."""
    runner = parity.Runner(model, slots=5)
    context, drafts, rest = parity.prompt(61, 13), parity.prompt(61, 5, seed=1), parity.prompt(61, 6, seed=3)
    slots = runner.tables["recurrent"]
    runner.step({0: context})
    drafted = runner.step({0: drafts}, slot_write=slots[:1].astype(np.int32), slot_offset=np.array([[1, 2, 3, 4, 5]], np.int32))
    assert parity.difference(drafted[0]["logits"], made.expected(context + drafts)[13:]) <= parity.TOLERANCE
    kept = 1 + accepted
    runner.done[0] = len(context) + kept
    after = runner.step({0: rest}, slot_read=np.array([slots[0, accepted]], np.int32))
    expected = made.expected(context + drafts[:kept] + rest)[len(context) + kept :]
    assert parity.difference(after[0]["logits"], expected) <= parity.TOLERANCE


def test_outer_dimensions_of_one_that_were_left_out(tmp_path: Path) -> None:
    """llama.cpp's quantizer writes a norm of one group, [1, inner], as [inner]."""
    made = parity.tiny(tf.Mamba2Config(**{**MAMBA2, "n_groups": 1}), tmp_path)
    checkpoint, tokens = Checkpoint(made.folder), parity.prompt(61, 20)
    norms = {name: Reshape(t, (t.shape[1],)) for name, t in checkpoint.tensors.items() if name.endswith("ssm_norm.weight")}
    assert len(norms) == MAMBA2["num_hidden_layers"]
    write_gguf(tmp_path / "tiny.gguf", checkpoint.metadata, dict(checkpoint.tensors) | norms)
    got = parity.whole(parity.Runner(build_model(Checkpoint(tmp_path / "tiny.gguf"))), tokens)
    assert parity.difference(got, made.expected(tokens)) <= parity.TOLERANCE


def test_groups_that_ranks_cannot_share(tmp_path: Path) -> None:
    """Three groups on two ranks: computed whole, but computed."""
    made = parity.tiny(tf.Mamba2Config(**{**MAMBA2, "expand": 3, "num_heads": 6, "head_dim": 16, "n_groups": 3}), tmp_path)
    model, tokens = build_model(Checkpoint(made.folder)), parity.prompt(61, 30)
    for got in in_ranks(model, 2, lambda runner: parity.whole(runner, tokens)):
        assert parity.difference(got, made.expected(tokens)) <= parity.TOLERANCE


def changed(folder: Path, to: Path, **config: Any) -> Path:
    """The folder again, with some of its configuration changed."""
    for file in folder.iterdir():
        (to / file.name).symlink_to(file.resolve())
    given = json.loads((folder / "config.json").read_text())
    (to / "config.json").unlink()
    (to / "config.json").write_text(json.dumps(given | config))
    return to


def test_another_activation_is_refused(made: parity.Tiny, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"config\.json.*gelu"):
        Checkpoint(changed(made.folder, tmp_path, hidden_act="gelu"))


@pytest.mark.parametrize(
    ("config", "message"), [({"time_step_limit": [0.1]}, "time_step_limit"), ({"n_groups": 3}, "3 rows"), ({"num_heads": 7}, "7 rows")]
)
def test_a_mamba_2_that_does_not_fit_is_refused(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    made = parity.tiny(tf.Mamba2Config(**MAMBA2), tmp_path / "made")
    (tmp_path / "changed").mkdir()
    with pytest.raises(CheckpointError, match=message):
        build_model(Checkpoint(changed(made.folder, tmp_path / "changed", **config)))
