"""Layout transforms: to_hf undoes to_gguf, and to_gguf gives what published GGUF files hold."""

from __future__ import annotations

from math import prod

import numpy as np
import pytest

from heron.checkpoint.head_norms import StackHeadNorms
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.pairing import materialize
from heron.checkpoint.tensor import MappedTensor, Tensor
from heron.checkpoint.transforms import (
    NegExp,
    NormPlusOne,
    SplitKVB,
    SplitQKV,
    Squeeze,
    StackExperts,
    Transform,
    Transpose,
    UnpermuteRope,
    merge_grouped,
    split_grouped,
)
from heron.checkpoint.transforms_alternating import AlternatingExperts
from heron.checkpoint.transforms_delta import InRows
from heron.checkpoint.transforms_fused import SplitGateUp, UngroupQKV
from heron.checkpoint.transforms_rows import DropRows
from heron.checkpoint.views import Const, RowSlice
from heron.errors import CheckpointError
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

RNG = np.random.default_rng(5)
HEADS, KV_HEADS, DIM, HIDDEN, EXPERTS = 6, 3, 4, 32, 3
LORA, NOPE, ROPE, VALUE = 8, 6, 2, 5

METADATA = Metadata(
    {
        "general.architecture": "x",
        "x.attention.head_count": HEADS,
        "x.attention.head_count_kv": KV_HEADS,
        "x.attention.key_length": DIM,
        "x.attention.value_length": DIM,
        "x.attention.key_length_mla": NOPE + ROPE,
        "x.attention.value_length_mla": VALUE,
        "x.rope.dimension_count": ROPE,
        "x.expert_count": EXPERTS,
    }
)


def values(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def blocks(rows: int) -> Tensor:
    return MappedTensor(quantize(FORMATS["Q8_0"], values(rows, HIDDEN)).reshape(-1), (rows, HIDDEN), FORMATS["Q8_0"])


def codes(*shape: int) -> Tensor:
    return MappedTensor(RNG.integers(0, 256, prod(shape), dtype=np.uint8), shape, FORMATS["I8"])


EXPERT_MATRICES = {f"blk.1.ffn_{m}_exps.{e}.weight": Const(values(5, 32)) for m in ("gate", "up") for e in range(EXPERTS)}
FUSED = (HEADS + 2 * KV_HEADS) * DIM

# name: (transform, tensors as HF has them)
CASES: dict[str, tuple[Transform, dict[str, Tensor]]] = {
    "gate and up in halves": (SplitGateUp("_shexp"), {"blk.2.ffn_gate_up_shexp.weight": blocks(14)}),
    "rope": (UnpermuteRope(), {"blk.0.attn_q.weight": Const(values(HEADS * DIM, HIDDEN)), "blk.0.attn_k.weight": blocks(KV_HEADS * DIM)}),
    "rope of biases": (
        UnpermuteRope(),
        {"blk.0.attn_q.bias": Const(values(HEADS * DIM)), "blk.0.attn_k.bias": Const(values(KV_HEADS * DIM))},
    ),
    "transpose": (Transpose((r"blk\.\d+\.attn_qkv\.weight",)), {"blk.0.attn_qkv.weight": Const(values(5, 7))}),
    "squeeze": (Squeeze((r"blk\.\d+\.ssm_conv1d\.weight",)), {"blk.0.ssm_conv1d.weight": Const(values(5, 1, 4))}),
    "fused qkv": (SplitQKV(), {"blk.0.attn_qkv.weight": blocks(FUSED), "blk.0.attn_qkv.bias": Const(values(FUSED))}),
    "grouped qkv": (SplitQKV("groups"), {"blk.0.attn_qkv.weight": blocks(FUSED), "blk.0.attn_qkv.bias": Const(values(FUSED))}),
    "ungrouped qkv": (UngroupQKV(), {"blk.0.attn_qkv.weight": blocks(FUSED), "blk.0.attn_qkv.bias": Const(values(FUSED))}),
    "norms of heads": (StackHeadNorms(), {f"blk.0.attn_{x}_norm.{h}.weight": Const(values(DIM)) for x in "qk" for h in range(KV_HEADS)}),
    "rows of groups": (
        InRows((r"blk\.\d+\.ssm_(d|norm\.weight)",), "attention.head_count_kv"),
        {"blk.0.ssm_norm.weight": Const(values(12))},
    ),
    "rows that are not read": (DropRows((r"position_embd\.weight",)), {"position_embd.weight": Const(np.tri(7, 5, -2))}),
    "experts": (StackExperts(), EXPERT_MATRICES),
    "alternating experts": (
        AlternatingExperts(),
        {"blk.1.ffn_gate_up_exps.weight": Const(values(EXPERTS, 32, 10)), "blk.1.ffn_gate_up_exps.bias": Const(values(EXPERTS, 10))},
    ),
    "alternating experts in MXFP4": (
        AlternatingExperts(),
        {
            "blk.1.ffn_gate_up_exps.codes": codes(EXPERTS, 10, 3, 16),
            "blk.1.ffn_gate_up_exps.scales": codes(EXPERTS, 10, 3),
            "blk.1.ffn_down_exps.codes": codes(EXPERTS, 6, 2, 16),
            "blk.1.ffn_down_exps.scales": codes(EXPERTS, 6, 2),
        },
    ),
    "latent attention": (SplitKVB(), {"blk.0.attn_kv_b.weight": Const(values(HEADS * (NOPE + VALUE), LORA))}),
}


@pytest.mark.parametrize("name", CASES)
def test_to_hf_undoes_to_gguf(name: str) -> None:
    transform, hf = CASES[name]
    hf = hf | {"other.weight": Const(values(3))}
    before = dict(hf)
    forth = transform.to_gguf(hf, METADATA)
    back = transform.to_hf(forth, METADATA)
    assert hf == before, "the argument is not changed"
    assert set(back) == set(hf)
    assert forth["other.weight"] is hf["other.weight"]
    assert any(forth.get(key) is not hf[key] for key in hf), "the transform does something"
    for key in hf:
        assert (back[key].shape, back[key].format, back[key].pairing) == (hf[key].shape, hf[key].format, "")
        np.testing.assert_array_equal(back[key].rows(), hf[key].rows())


@pytest.mark.parametrize("name", CASES)
def test_to_gguf_undoes_to_hf(name: str) -> None:
    """Starting from what a GGUF file holds: rows in its order, no marks."""
    transform, hf = CASES[name]
    stored = {key: materialize(t) for key, t in transform.to_gguf(hf, METADATA).items()}
    again = transform.to_gguf(transform.to_hf(stored, METADATA), METADATA)
    assert set(again) == set(stored)
    for key in stored:
        np.testing.assert_array_equal(materialize(again[key]).rows(), stored[key].rows())


def test_norm_plus_one() -> None:
    """1 + w is rounded to float32, so the inverse is exact to half a unit in the last place of 1 + w."""
    w = values(64) / 8
    transform = NormPlusOne((r".*_norm\.weight",))
    forth = transform.to_gguf({"output_norm.weight": Const(w), "output.weight": Const(w)}, METADATA)
    np.testing.assert_array_equal(forth["output_norm.weight"].numpy(), w + np.float32(1))
    np.testing.assert_array_equal(forth["output.weight"].numpy(), w)
    np.testing.assert_allclose(transform.to_hf(forth, METADATA)["output_norm.weight"].numpy(), w, rtol=0, atol=2.0**-24)


def test_negative_exponential() -> None:
    """Exact to the rounding of float32's exp and log (a unit in the last place each)."""
    a_log = np.linspace(-4, 4, 33, dtype=np.float32)
    transform = NegExp((r"blk\.\d+\.ssm_a",))
    forth = transform.to_gguf({"blk.0.ssm_a": Const(a_log)}, METADATA)
    np.testing.assert_allclose(forth["blk.0.ssm_a"].numpy(), -np.exp(a_log.astype(np.float64)), rtol=2.0**-22)
    np.testing.assert_allclose(transform.to_hf(forth, METADATA)["blk.0.ssm_a"].numpy(), a_log, rtol=2.0**-22, atol=2.0**-22)


def test_rope_rows_are_marked_and_only_moved_when_asked() -> None:
    transform, hf = CASES["rope"]
    forth = transform.to_gguf(hf, METADATA)
    for key, heads in (("blk.0.attn_q.weight", HEADS), ("blk.0.attn_k.weight", KV_HEADS)):
        assert forth[key].pairing == "half"
        np.testing.assert_array_equal(forth[key].rows(), hf[key].rows())
        x = hf[key].numpy()
        permuted = x.reshape(heads, 2, DIM // 2, HIDDEN).swapaxes(1, 2).reshape(x.shape)  # llama.cpp's conversion
        moved = materialize(forth[key])
        assert moved.pairing == ""
        np.testing.assert_array_equal(moved.numpy(), permuted)
    assert RowSlice(forth["blk.0.attn_q.weight"], 0, DIM).pairing == "half"


def test_rope_of_heads_that_do_not_fit() -> None:
    with pytest.raises(CheckpointError, match="cannot be 6 heads of an even size"):
        UnpermuteRope().to_gguf({"blk.0.attn_q.weight": Const(values(15, 4))}, METADATA)


def test_fused_qkv_in_order() -> None:
    x = values(FUSED, HIDDEN)
    forth = SplitQKV().to_gguf({"blk.0.attn_qkv.weight": Const(x)}, METADATA)
    q, k = HEADS * DIM, KV_HEADS * DIM
    for part, expected in {"q": x[:q], "k": x[q : q + k], "v": x[q + k :]}.items():
        np.testing.assert_array_equal(forth[f"blk.0.attn_{part}.weight"].numpy(), expected)


def test_fused_qkv_by_groups() -> None:
    """Each key-value head's queries, then its key, then its value (Falcon)."""
    x = values(FUSED, HIDDEN)
    forth = SplitQKV("groups").to_gguf({"blk.0.attn_qkv.weight": Const(x)}, METADATA)
    grouped = x.reshape(KV_HEADS, HEADS // KV_HEADS + 2, DIM, HIDDEN)
    for part, expected in {"q": grouped[:, :-2], "k": grouped[:, -2], "v": grouped[:, -1]}.items():
        np.testing.assert_array_equal(forth[f"blk.0.attn_{part}.weight"].numpy(), expected.reshape(-1, HIDDEN))


def test_fused_qkv_by_heads() -> None:
    """[heads, 3, dim] (GPT-NeoX, BLOOM) is the grouped layout with a key-value head for each head."""
    metadata = Metadata(METADATA | {"x.attention.head_count_kv": HEADS})
    x = values(HEADS * 3 * DIM)
    forth = SplitQKV("groups").to_gguf({"blk.7.attn_qkv.bias": Const(x)}, metadata)
    for number, part in enumerate("qkv"):
        np.testing.assert_array_equal(forth[f"blk.7.attn_{part}.bias"].numpy(), x.reshape(HEADS, 3, DIM)[:, number].ravel())


def test_experts_of_both_layouts() -> None:
    stacked = StackExperts().to_gguf(EXPERT_MATRICES, METADATA)
    gate = np.stack([EXPERT_MATRICES[f"blk.1.ffn_gate_exps.{e}.weight"].numpy() for e in range(EXPERTS)])
    up = np.stack([EXPERT_MATRICES[f"blk.1.ffn_up_exps.{e}.weight"].numpy() for e in range(EXPERTS)])
    np.testing.assert_array_equal(stacked["blk.1.ffn_gate_exps.weight"].numpy(), gate)
    fused = StackExperts().to_gguf({"blk.1.ffn_gate_up_exps.weight": Const(np.concatenate([gate, up], axis=1))}, METADATA)
    np.testing.assert_array_equal(fused["blk.1.ffn_gate_exps.weight"].numpy(), gate)
    np.testing.assert_array_equal(fused["blk.1.ffn_up_exps.weight"].numpy(), up)


def test_gate_comes_before_up() -> None:
    x = values(6, 32)
    apart = SplitGateUp().to_gguf({"blk.0.ffn_gate_up.weight": Const(x)}, METADATA)
    np.testing.assert_array_equal(apart["blk.0.ffn_gate.weight"].numpy(), x[:3])
    np.testing.assert_array_equal(apart["blk.0.ffn_up.weight"].numpy(), x[3:])
    with pytest.raises(CheckpointError, match="7 rows"):
        SplitGateUp().to_gguf({"blk.0.ffn_gate_up.weight": Const(values(7, 32))}, METADATA)


def test_rows_that_do_not_fill_the_groups() -> None:
    with pytest.raises(CheckpointError, match="does not fill 3 rows"):
        InRows((".*",), "attention.head_count_kv").to_gguf({"blk.0.ssm_d": Const(values(8))}, METADATA)


def test_a_missing_expert() -> None:
    rest = {k: t for k, t in EXPERT_MATRICES.items() if ".2." not in k}
    with pytest.raises(CheckpointError, match="has 2 experts"):
        StackExperts().to_gguf(rest, METADATA)


def test_latent_attention() -> None:
    x = values(HEADS * (NOPE + VALUE), LORA)
    forth = SplitKVB().to_gguf({"blk.0.attn_kv_b.weight": Const(x)}, METADATA)
    heads = x.reshape(HEADS, NOPE + VALUE, LORA)
    np.testing.assert_array_equal(forth["blk.0.attn_k_b.weight"].numpy(), heads[:, :NOPE].swapaxes(1, 2))
    np.testing.assert_array_equal(forth["blk.0.attn_v_b.weight"].numpy(), heads[:, NOPE:])


def test_groups_of_unequal_parts() -> None:
    x = values(3 * 9, 4)
    parts = split_grouped(Const(x), 3, (2, 4, 3))
    np.testing.assert_array_equal(parts[1].numpy(), x.reshape(3, 9, 4)[:, 2:6].reshape(-1, 4))
    np.testing.assert_array_equal(merge_grouped(parts, 3).numpy(), x)
    with pytest.raises(CheckpointError, match="3 x 8 rows"):
        split_grouped(Const(x), 3, (2, 4, 2))
