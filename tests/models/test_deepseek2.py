"""DeepSeek-V2 and V3 on the reference backend against transformers: both forms of latent attention, both routers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from safetensors.torch import save_file
from transformers import DeepseekV2Config, DeepseekV3Config

from heron.backends.base import Executable, Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.transforms import SplitKVB
from heron.checkpoint.views import Const
from heron.errors import CheckpointError, UnsupportedError
from heron.graph.graph import Graph, Model
from heron.models.registry import build_model
from heron.quant.formats import FORMATS

VOCAB, HEADS, RANK, NOPE, ROPE, VALUE = 61, 4, 32, 12, 16, 10
TOKENS = parity.prompt(VOCAB, 40)

#: Every size differs from every other that it could be mistaken for.
SIZES: dict[str, Any] = {
    "vocab_size": VOCAB,
    "hidden_size": 36,
    "intermediate_size": 44,
    "moe_intermediate_size": 20,
    "num_hidden_layers": 3,
    "num_attention_heads": HEADS,
    "num_key_value_heads": HEADS,
    "n_shared_experts": 2,
    "n_routed_experts": 12,
    "num_experts_per_tok": 3,
    "routed_scaling_factor": 1.5,
    "kv_lora_rank": RANK,
    "q_lora_rank": 24,
    "qk_rope_head_dim": ROPE,
    "qk_nope_head_dim": NOPE,
    "v_head_dim": VALUE,
    "n_group": 4,
    "topk_group": 2,
    "first_k_dense_replace": 1,
    "max_position_embeddings": 128,
    "rms_norm_eps": 1e-5,
}

PLAIN = {"rope_type": "default", "rope_theta": 500.0}
#: The ramp between fast and slow pairs spans several pairs, and the prompt is longer than the original context.
SLOPE = {"factor": 4.0, "original_max_position_embeddings": 16, "beta_fast": 1.0, "beta_slow": 0.1}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, **SLOPE}


def v2(rope: dict[str, Any], **changes: Any) -> DeepseekV2Config:
    return DeepseekV2Config(**(SIZES | {"rope_parameters": dict(rope)} | changes))


def v3(rope: dict[str, Any], **changes: Any) -> DeepseekV3Config:
    return DeepseekV3Config(**(SIZES | {"rope_parameters": dict(rope)} | changes))


#: Both values of each boolean, with and without compressed queries, every way of picking experts.
VARIANTS: dict[str, Any] = {
    "V3": v3(YARN | {"mscale": 1.0, "mscale_all_dim": 1.0}),
    "V3 other switches": v3(
        PLAIN,
        **{"norm_topk_prob": False, "attention_bias": True, "tie_word_embeddings": True, "q_lora_rank": None},
        **{"n_group": 1, "topk_group": 1, "first_k_dense_replace": 0, "num_hidden_layers": 2},
    ),
    "V2": v2(YARN | {"mscale": 0.7, "mscale_all_dim": 1.2}, topk_method="group_limited_greedy", attention_bias=True, mlp_bias=True),
    "V2-Lite": v2(YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}, q_lora_rank=None, n_group=1, topk_group=1),
}


def logits(checkpoint: Checkpoint) -> parity.Logits:
    return parity.whole(parity.Runner(build_model(checkpoint)), TOKENS)


@pytest.fixture(scope="module", params=VARIANTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(VARIANTS[request.param], tmp_path_factory.mktemp("deepseek2"))


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return parity.tiny(VARIANTS["V3"], tmp_path_factory.mktemp("deepseek2"))


@pytest.mark.covers("logits", "reference")
def test_parity(made: parity.Tiny) -> None:
    assert made.sharpness(TOKENS) >= 1
    model = parity.check_parity(made)
    assert all(node.attrs["form"] == "auto" for node in model.entries["forward"].nodes if node.op == "latent_attend")


@pytest.mark.parametrize("form", ["absorbed", "expanded"])
def test_forms(published: parity.Tiny, form: str) -> None:
    def forced(graph: Graph) -> Graph:
        nodes = [replace(n, attrs={**n.attrs, "form": form}) if n.op == "latent_attend" else n for n in graph.nodes]
        return replace(graph, nodes=tuple(nodes))

    def prepare(model: Model, options: Options) -> Executable:
        entries = {name: forced(graph) for name, graph in model.entries.items()}
        return parity.reference_backend(replace(model, entries=entries), options)

    parity.check_parity(published, prepare=prepare)


@pytest.mark.parametrize(
    "extra",
    [{}, {"mscale_all_dim": 1.2}, {"mscale": 0.7}, {"attention_factor": 1.3, "mscale_all_dim": 1.0}, {"mscale_all_dim": 0.0}],
    ids=str,
)
def test_yarn(tmp_path: Path, extra: dict[str, float]) -> None:
    """What multiplies cosine and sine, and what multiplies the scores."""
    made = parity.tiny(v3(YARN | extra, num_hidden_layers=1), tmp_path)
    assert parity.difference(logits(Checkpoint(tmp_path)), made.expected(TOKENS)) <= parity.TOLERANCE


def test_greedy_ignores_groups(tmp_path: Path) -> None:
    made = parity.tiny(v2(PLAIN, topk_method="greedy", first_k_dense_replace=0), tmp_path)
    assert parity.difference(logits(Checkpoint(tmp_path)), made.expected(TOKENS)) <= parity.TOLERANCE


@pytest.mark.covers("keys", "reference")
def test_every_hyperparameter_matters(made: parity.Tiny) -> None:
    tried = {key.removeprefix("deepseek2.") for key in parity.check_sensitive(made)}
    assert {"attention.kv_lora_rank", "attention.key_length_mla", "expert_gating_func", "expert_weights_norm", "rope.freq_base"} <= tried
    if made.hf.config.rope_parameters["rope_type"] == "yarn":
        yarn = {f"yarn_{key}" for key in ("beta_fast", "beta_slow", "attn_factor", "log_multiplier")}
        assert {f"rope.scaling.{key}" for key in {"type", "factor", "original_context_length"} | yarn} <= tried


def test_metadata_are_ggufs(published: parity.Tiny) -> None:
    metadata = Checkpoint(published.folder).metadata
    expected = {
        "attention.q_lora_rank": 24,
        "attention.kv_lora_rank": RANK,
        "attention.head_count": HEADS,
        "attention.head_count_kv": 1,
        "attention.key_length": RANK + ROPE,
        "attention.value_length": RANK,
        "attention.key_length_mla": NOPE + ROPE,
        "attention.value_length_mla": VALUE,
        "rope.dimension_count": ROPE,
        "rope.scaling.yarn_log_multiplier": 0.1,
        "leading_dense_block_count": 1,
        "expert_shared_count": 2,
        "expert_group_count": 4,
        "expert_group_used_count": 2,
        "expert_gating_func": 2,
        "expert_weights_norm": True,
        "expert_weights_scale": 1.5,
    }
    assert {key: metadata[f"deepseek2.{key}"] for key in expected} == expected


@pytest.mark.covers("GGUF", "reference")
def test_saved_as_gguf(made: parity.Tiny, tmp_path: Path) -> None:
    """GGUF rounds YaRN's numbers to f32, so the logits are not equal to the last bit."""
    checkpoint = Checkpoint(made.folder)
    write_gguf(tmp_path / "tiny.gguf", checkpoint.metadata, checkpoint.tensors)
    assert parity.difference(logits(Checkpoint(tmp_path / "tiny.gguf")), made.expected(TOKENS)) <= parity.TOLERANCE


def before_the_split(folder: Path) -> Checkpoint:
    """The checkpoint as GGUF files were when they held attn_kv_b, and the heads' real sizes under the usual keys."""
    checkpoint = Checkpoint(folder)
    checkpoint.tensors = SplitKVB().to_hf(checkpoint.tensors, checkpoint.metadata)
    for part, size in (("key", NOPE + ROPE), ("value", VALUE)):
        del checkpoint.metadata[f"deepseek2.attention.{part}_length_mla"]
        checkpoint.metadata[f"deepseek2.attention.{part}_length"] = size
    checkpoint.metadata["deepseek2.attention.head_count_kv"] = HEADS
    return checkpoint


def test_files_from_before_the_split(made: parity.Tiny) -> None:
    checkpoint = before_the_split(made.folder)
    assert "blk.0.attn_kv_b.weight" in checkpoint.tensors and "blk.0.attn_k_b.weight" not in checkpoint.tensors
    assert parity.difference(logits(checkpoint), made.expected(TOKENS)) <= parity.TOLERANCE


def test_quantized_files_from_before_the_split(published: parity.Tiny, tmp_path: Path) -> None:
    checkpoint = before_the_split(published.folder)
    names = [name for name in checkpoint.tensors if "attn_kv_b" in name]
    blocks = {name: Const(checkpoint.tensors[name].numpy(), name, FORMATS["Q8_0"]) for name in names}
    write_gguf(tmp_path / "old.gguf", checkpoint.metadata, checkpoint.tensors | blocks)
    got = logits(Checkpoint(tmp_path / "old.gguf"))
    checkpoint.tensors |= {name: Const(tensor.numpy(), name) for name, tensor in blocks.items()}
    np.testing.assert_array_equal(got, logits(checkpoint))
    assert parity.difference(got, published.expected(TOKENS)) > parity.TOLERANCE  # it was quantized


def test_keys_that_older_files_lack(published: parity.Tiny, tmp_path: Path) -> None:
    """Without a gating function experts are V2's; under a log multiplier nothing is left for cosine and sine."""
    made = parity.tiny(VARIANTS["V2-Lite"], tmp_path)
    checkpoint = Checkpoint(tmp_path)
    for key in ("expert_gating_func", "expert_weights_norm", "rope.scaling.yarn_attn_factor"):
        del checkpoint.metadata[f"deepseek2.{key}"]
    assert parity.difference(logits(checkpoint), made.expected(TOKENS)) <= parity.TOLERANCE


def test_only_latents_are_cached(published: parity.Tiny) -> None:
    executable = parity.Runner(build_model(Checkpoint(published.folder))).executable
    (group,) = executable.state_groups
    assert (group.kind, group.unit_bytes) == ("token", 3 * group.block_size * (RANK + ROPE) * 4)


def test_heads_split(made: parity.Tiny) -> None:
    """What tensor parallelism splits has a unit for each head; the latents' weights are whole."""
    graph = build_model(Checkpoint(made.folder)).entries["forward"]
    weights = {w.name: w for w in graph.weights().values() if w.name.startswith("blk.1.attn_") and "_norm" not in w.name}
    query = "attn_q_b" if made.hf.config.q_lora_rank else "attn_q"
    split = {name for name, w in weights.items() if w.role != "whole"}
    assert split == {f"blk.1.{name}.weight" for name in (query, "attn_k_b", "attn_v_b", "attn_output")}
    for weight in (weights[name] for name in split):
        assert weight.shape[1 if weight.role == "rows" else 0] == HEADS * weight.unit, weight.name


def changed(folder: Path, to: Path, change: dict[str, Any]) -> Path:
    """The folder with another config.json."""
    for file in folder.iterdir():
        (to / file.name).symlink_to(file.resolve())
    given = json.loads((folder / "config.json").read_text())
    (to / "config.json").unlink()
    (to / "config.json").write_text(json.dumps(given | change))
    return to


@pytest.mark.parametrize(
    "change",
    [
        {"rope_interleave": False},
        {"topk_method": "greedy"},
        {"scoring_func": "softmax"},
        {"moe_layer_freq": 2},
        {"hidden_act": "gelu"},
        {"num_key_value_heads": 2},
        {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 500.0, "factor": 2.0}},
        {"rope_parameters": {"rope_type": "linear", "rope_theta": 500.0, "factor": 2.0}},
        {"rope_parameters": PLAIN | {"partial_rotary_factor": 0.5}},
        {"rope_parameters": None, "rope_scaling": {"type": "longrope"}},
        {"model_type": "deepseek_v2", "topk_method": "noaux_tc"},
        {"model_type": "deepseek_v2", "topk_method": "greedy", "norm_topk_prob": True},
        {"model_type": "deepseek_v2", "topk_method": "greedy", "norm_topk_prob": False, "scoring_func": "sigmoid"},
    ],
    ids=str,
)
def test_unsupported_variants(published: parity.Tiny, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"config\.json"):
        build_model(Checkpoint(changed(published.folder, tmp_path, change)))


@pytest.mark.parametrize(
    ("key", "value", "error", "what"),
    [
        ("expert_gating_func", 3, UnsupportedError, "expert_gating_func 3"),
        ("attention.temperature_scale", 0.1, UnsupportedError, "temperature"),
        ("expert_group_count", 5, CheckpointError, "groups"),
        ("expert_group_count", 12, CheckpointError, "groups"),
        ("expert_group_used_count", 5, CheckpointError, "groups"),
        ("expert_used_count", 7, CheckpointError, "experts cannot be chosen"),
        ("rope.dimension_count", NOPE + ROPE, CheckpointError, "rope turns 28"),
        ("attention.head_count", 8, CheckpointError, "attn_q_b"),
    ],
)
def test_metadata_that_do_not_fit(published: parity.Tiny, key: str, value: Any, error: type[Exception], what: str) -> None:
    checkpoint = Checkpoint(published.folder)
    checkpoint.metadata[f"deepseek2.{key}"] = value
    with pytest.raises(error, match=what):
        build_model(checkpoint)


def test_a_fused_projection_that_does_not_fit(published: parity.Tiny) -> None:
    checkpoint = before_the_split(published.folder)
    checkpoint.metadata["deepseek2.attention.value_length"] = VALUE + 1
    with pytest.raises(CheckpointError, match="should have 4 x 23 rows"):
        build_model(checkpoint)


def test_draft_layers_are_left_out(published: parity.Tiny, tmp_path: Path) -> None:
    """Published folders hold, after the last layer, one that drafts further tokens."""
    state = {name: tensor.contiguous() for name, tensor in published.hf.state_dict().items()}
    state |= {name.replace("layers.2.", "layers.3."): tensor.clone() for name, tensor in state.items() if "layers.2." in name}
    state |= {f"model.layers.3.{name}.weight": torch.ones(36, 72) for name in ("eh_proj", "enorm", "shared_head.norm")}
    folder, undeclared = tmp_path / "declared", tmp_path / "undeclared"
    folder.mkdir()
    undeclared.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text((published.folder / "config.json").read_text())
    assert parity.difference(logits(Checkpoint(folder)), published.expected(TOKENS)) <= parity.TOLERANCE
    changed(folder, undeclared, {"num_nextn_predict_layers": 0})
    with pytest.raises(CheckpointError, match="does not know"):
        Checkpoint(undeclared)
