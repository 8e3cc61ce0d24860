"""HF tensor names to GGUF names."""

from __future__ import annotations

import pytest

from heron.checkpoint.hf_names import NameMap


@pytest.mark.parametrize(
    ("architecture", "hf", "gguf"),
    [
        ("llama", "model.layers.17.self_attn.q_proj.bias", "blk.17.attn_q.bias"),
        ("gpt2", "transformer.h.3.attn.c_attn.weight", "blk.3.attn_qkv.weight"),
        ("bert", "encoder.layer.11.attention.self.query.weight", "blk.11.attn_q.weight"),
        ("t5", "decoder.block.4.layer.1.EncDecAttention.q.weight", "dec.blk.4.cross_attn_q.weight"),
        ("t5", "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight", "enc.blk.0.attn_rel_b.weight"),
        ("llama", "model.layers.1.nonsense.weight", None),
        ("no such architecture", "model.norm.weight", None),
    ],
)
def test_names(architecture: str, hf: str, gguf: str | None) -> None:
    assert NameMap(architecture)(hf) == gguf


def test_one_architecture_does_not_change_the_names_of_another() -> None:
    """gguf-py's map of arctic has exceptions; they must not stay for the llama that is opened after it."""
    name = "model.layers.0.post_attention_layernorm.weight"
    assert NameMap("arctic")(name) == "blk.0.ffn_norm_exps.weight"
    assert NameMap("llama")(name) == "blk.0.ffn_norm.weight"


def test_renames_come_first_and_ignored_names_are_not_wanted() -> None:
    names = NameMap("llama", ((r"model\.layers\.(\d+)\.odd\.weight", r"blk.\1.even.weight"),), (r"\.attn\.bias$",))
    assert names("model.layers.5.odd.weight") == "blk.5.even.weight"
    assert names.ignored("model.layers.0.self_attn.rotary_emb.inv_freq")
    assert names.ignored("h.0.attn.bias")
    assert not names.ignored("h.0.attn.c_attn.bias")
