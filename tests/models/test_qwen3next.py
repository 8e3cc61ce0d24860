"""Qwen3-Next on the reference backend against transformers; prefixes resumed from snapshots and drafts rolled back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from transformers import Qwen3NextConfig

from heron.backends.reference.state import state_groups as reference_state_groups
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.transforms_delta import UngroupQKVZ
from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import Model
from heron.models.registry import build_model

LINEAR, FULL = "linear_attention", "full_attention"


def config(**changes: Any) -> Qwen3NextConfig:
    """Every size differs from every other that it could be mistaken for."""
    sizes: dict[str, Any] = {
        "vocab_size": 61,
        "hidden_size": 32,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "linear_num_key_heads": 2,
        "linear_num_value_heads": 6,
        "linear_key_head_dim": 10,
        "linear_value_head_dim": 7,
        "linear_conv_kernel_dim": 4,
        "num_experts": 6,
        "num_experts_per_tok": 2,
        "moe_intermediate_size": 24,
        "shared_expert_intermediate_size": 40,
        "max_position_embeddings": 128,
        "rms_norm_eps": 1e-5,
    }
    return Qwen3NextConfig(**(sizes | changes))


#: Both values of each boolean, and layers in other orders.
VARIANTS: dict[str, dict[str, Any]] = {
    "as published": {},
    "other switches": {
        "norm_topk_prob": False,
        "tie_word_embeddings": True,
        "attention_bias": True,
        "linear_num_key_heads": 3,
        "linear_num_value_heads": 3,
        "linear_conv_kernel_dim": 2,
        "layer_types": [FULL, LINEAR, LINEAR],
        "num_hidden_layers": 3,
        "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
    },
}


@pytest.fixture(scope="module", params=VARIANTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(config(**VARIANTS[request.param]), tmp_path_factory.mktemp("qwen3next"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(config(), tmp_path_factory.mktemp("qwen3next"))


@pytest.fixture(scope="module")
def model(published: parity.Tiny) -> Model:
    return build_model(Checkpoint(published.folder))


@pytest.mark.covers("logits", "reference")
def test_parity(made: parity.Tiny) -> None:
    assert made.sharpness(parity.prompt(61, 40)) >= 1
    parity.check_parity(made)


@pytest.mark.covers("keys", "reference")
def test_every_hyperparameter_matters(made: parity.Tiny) -> None:
    tried = parity.check_sensitive(made)
    assert {"qwen3next.expert_weights_norm", "qwen3next.rope.dimension_count", "qwen3next.ssm.group_count"} <= set(tried)


@pytest.mark.covers("GGUF", "reference")
def test_saved_as_gguf(made: parity.Tiny, tmp_path: Path) -> None:
    checkpoint, tokens = Checkpoint(made.folder), parity.prompt(61, 40)
    write_gguf(tmp_path / "tiny.gguf", checkpoint.metadata, checkpoint.tensors)
    got = parity.whole(parity.Runner(build_model(Checkpoint(tmp_path / "tiny.gguf"))), tokens)
    np.testing.assert_array_equal(got, parity.whole(parity.Runner(build_model(checkpoint)), tokens))


def test_the_recurrence_forgets_and_corrects(published: parity.Tiny) -> None:
    """The comparison can see the delta rule: neither the decay nor beta is at an end of its range."""
    seen: list[torch.Tensor] = []
    layer = published.hf.model.layers[0].linear_attn
    hook = layer.in_proj_ba.register_forward_hook(lambda module, inputs, output: seen.append(output.detach()))
    published.expected(parity.prompt(61, 40))
    hook.remove()
    beta, a = torch.split(seen[0].reshape(40, 2, 6), 3, dim=-1)
    decay = torch.exp(-layer.A_log.detach().exp() * torch.nn.functional.softplus(a.reshape(40, 6) + layer.dt_bias.detach()))
    assert decay.max() > 0.5
    assert beta.sigmoid().std() > 0.1


def test_states_keep_f32(model: Model) -> None:
    """All recurrent states are in one slot group, and are not rounded with the keys and values."""
    rounded, exact = ({g.name: (g.kind, g.unit_bytes) for g in reference_state_groups(model, dtype)} for dtype in ("f16", "f32"))
    channels = 2 * 2 * 10 + 6 * 7
    assert rounded["recurrent"] == exact["recurrent"] == ("slot", 3 * 4 * (3 * channels + 6 * 10 * 7))
    assert rounded["full"][1] * 2 == exact["full"][1]


def test_delta_nets_split_between_key_heads(model: Model) -> None:
    """Every weight of a delta net that tensor parallelism splits has one unit for each key head."""
    graph = model.entries["forward"]
    split = [w for node in graph.nodes if "delta_net" in node.scope for w in node.weights if w and w.role != "whole"]
    assert len(split) == 3 * (5 + 3 + 2 + 1)
    for weight in split:
        size = weight.shape[1] if weight.role == "rows" else weight.shape[0]
        assert size == 2 * weight.unit, weight.name


def test_projections_grouped_by_key_heads(published: parity.Tiny) -> None:
    """Older GGUF files keep HF's grouped projection, ssm_in."""
    checkpoint = Checkpoint(published.folder)
    checkpoint.tensors = UngroupQKVZ().to_hf(checkpoint.tensors, checkpoint.metadata)
    assert "blk.0.ssm_in.weight" in checkpoint.tensors
    assert "blk.0.attn_qkv.weight" not in checkpoint.tensors
    tokens = parity.prompt(61, 40)
    got = parity.whole(parity.Runner(build_model(checkpoint)), tokens)
    assert parity.difference(got, published.expected(tokens)) <= parity.TOLERANCE


def test_ungrouping_undone(published: parity.Tiny) -> None:
    checkpoint = Checkpoint(published.folder)
    transform, hf = UngroupQKVZ(), published.hf.state_dict()
    grouped = transform.to_hf(checkpoint.tensors, checkpoint.metadata)
    np.testing.assert_array_equal(grouped["blk.1.ssm_in.weight"].numpy(), hf["model.layers.1.linear_attn.in_proj_qkvz.weight"].numpy())
    again = transform.to_gguf(grouped, checkpoint.metadata)
    assert again.keys() == checkpoint.tensors.keys()
    for name in ("blk.1.attn_qkv.weight", "blk.1.attn_gate.weight"):
        np.testing.assert_array_equal(again[name].numpy(), checkpoint.tensors[name].numpy())


def test_prefix_resumed_from_a_snapshot(model: Model, published: parity.Tiny) -> None:
    """A snapshot taken inside a step serves another sequence, beside the first one's blocks: one shared, one copied."""
    runner, at = parity.Runner(model, slots=2), 21
    first, second = parity.prompt(61, 40), parity.prompt(61, 15, seed=1)
    slots, blocks = runner.tables["recurrent"], runner.tables["full"]
    snapshot = slots[0, 1]
    runner.step({0: first}, slot_write=np.array([[slots[0, 0], snapshot]], np.int32), slot_offset=np.array([[40, at]], np.int32))
    blocks[1, 0] = blocks[0, 0]
    runner.done[1] = at
    resumed = runner.step(
        {0: second[:3], 1: second},
        slot_read=np.array([slots[0, 0], snapshot], np.int32),
        copies=(("full", int(blocks[0, 1]), int(blocks[1, 1])),),
    )
    expected = published.expected(first[:at] + second)[at:]
    assert parity.difference(resumed[1]["logits"], expected) <= parity.TOLERANCE
    expected = published.expected(first + second[:3])[40:]
    assert parity.difference(resumed[0]["logits"], expected) <= parity.TOLERANCE


@pytest.mark.parametrize("accepted", range(5))
def test_drafts_rolled_back(model: Model, published: parity.Tiny, accepted: int) -> None:
    """A step of one token and four drafts leaves a snapshot after each; ``accepted`` drafts stay, the others are forgotten."""
    runner = parity.Runner(model, slots=5)
    context, drafts, other = parity.prompt(61, 13), parity.prompt(61, 5, seed=1), parity.prompt(61, 9, seed=2)
    rest = parity.prompt(61, 6, seed=3)
    slots = runner.tables["recurrent"]
    runner.step({0: context})
    drafted = runner.step(
        {1: other, 0: drafts},
        slot_write=np.array([[slots[1, 0], 0, 0, 0, 0], slots[0]], np.int32),
        slot_offset=np.array([[9, 0, 0, 0, 0], [1, 2, 3, 4, 5]], np.int32),
        slot_read=np.array([0, slots[0, 0]], np.int32),
    )
    assert parity.difference(drafted[0]["logits"], published.expected(context + drafts)[13:]) <= parity.TOLERANCE
    kept = 1 + accepted
    runner.done[0] = len(context) + kept
    after = runner.step({1: rest[:1], 0: rest}, slot_read=np.array([slots[1, 0], slots[0, accepted]], np.int32))
    expected = published.expected(context + drafts[:kept] + rest)[len(context) + kept :]
    assert parity.difference(after[0]["logits"], expected) <= parity.TOLERANCE
    assert parity.difference(after[1]["logits"], published.expected(other + rest[:1])[9:]) <= parity.TOLERANCE


@pytest.mark.parametrize(
    "change",
    [{"mlp_only_layers": [1]}, {"decoder_sparse_step": 2}, {"layer_types": ["sliding_attention"] * 4}],
    ids=["dense layers", "sparse step", "layer type"],
)
def test_unsupported_variants(published: parity.Tiny, tmp_path: Path, change: dict[str, Any]) -> None:
    for file in published.folder.iterdir():
        (tmp_path / file.name).symlink_to(file.resolve())
    given = json.loads((published.folder / "config.json").read_text())
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(given | change))
    with pytest.raises(UnsupportedError, match=r"config\.json"):
        build_model(Checkpoint(tmp_path))


def test_interval_of_older_configurations(published: parity.Tiny, tmp_path: Path) -> None:
    """The published config.json has an interval and no list of layers."""
    for file in published.folder.iterdir():
        (tmp_path / file.name).symlink_to(file.resolve())
    given = json.loads((published.folder / "config.json").read_text())
    assert given.pop("layer_types") == [LINEAR, LINEAR, LINEAR, FULL]
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(given))
    assert Checkpoint(tmp_path).metadata["qwen3next.full_attention_interval"] == 4
    (tmp_path / "config.json").write_text(json.dumps(given | {"full_attention_interval": 2}))
    with pytest.raises(CheckpointError, match=r"blk\.1\."):
        build_model(Checkpoint(tmp_path))
