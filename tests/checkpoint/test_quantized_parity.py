"""Checkpoints quantized by every method: the logits are transformers' on the numbers that the stored tensors stand for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import packers
import parity
import pytest
import torch
import transformers as tf
from adapters import adapter, merged
from parity import Runner, difference, prompt, whole
from ranks import in_ranks
from safetensors.torch import load_file, save_file
from tiny_models import DEEPSEEK

from heron.backends import native
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.torch.training import Lora, trainable
from heron.checkpoint.checkpoint import Checkpoint
from heron.convert.quantized import Quantized
from heron.graph.passes.lora import attach
from heron.models.registry import build_model
from heron.quant.formats import FORMATS

SIZES: dict[str, Any] = {
    "vocab_size": 67,
    "hidden_size": 128,
    "intermediate_size": 192,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}


@dataclass(frozen=True)
class Case:
    """How each linear is packed, what config.json says of it, and the formats that its tensors become."""

    pack: packers.Packer
    config: dict[str, Any]
    formats: set[str]
    make: Callable[..., Any] = tf.LlamaConfig
    key: str = "quantization_config"


def gptq(bits: int, group: int, formats: set[str], **how: Any) -> Case:
    config = {"quant_method": "gptq", "bits": bits, "group_size": group, "sym": how.get("symmetric", False)}
    config |= {"checkpoint_format": "gptq_v2"} if how.get("version") == 2 else {}
    return Case(packers.gptq(bits, group, **how), config, formats)


def compressed(pack: packers.Packer, bits: int, formats: set[str], **weights: Any) -> Case:
    config = {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": {"num_bits": bits, **weights}}}}
    return Case(pack, config, formats)


def fp8(pack: packers.Packer, formats: set[str], method: str = "fp8", **config: Any) -> Case:
    return Case(pack, {"quant_method": method, **config}, formats)


def mlx(bits: int, group: int, formats: set[str]) -> Case:
    return Case(packers.mlx(bits, group), {"group_size": group, "bits": bits}, formats, key="quantization")


FP8 = {"E4M3_128", "E4M3_32"}  #: of rows of 128 and of 192
CASES = {
    "gptq 4 symmetric": gptq(4, 64, {"Q4_0"}, symmetric=True),
    "gptq 4": gptq(4, 32, {"U4_32"}),
    "gptq 4, version 2": gptq(4, 64, {"U4_64"}, version=2),
    "gptq 4 symmetric, act-order": gptq(4, 32, {"Q4_0"}, symmetric=True, act_order=True),
    "gptq 4, act-order": gptq(4, 64, {"U4_64"}, act_order=True),
    "gptq 3, act-order": gptq(3, 32, {"U3_32"}, act_order=True),
    "gptq 2": gptq(2, 64, {"U2_64"}),
    "gptq 8 symmetric": gptq(8, 64, {"Q8_0"}, symmetric=True),
    "gptq 8": gptq(8, 64, {"U8_64"}),
    "gptq 4, a scale for each row": gptq(4, -1, {"U4_128", "U4_64"}),
    "awq gemm": Case(packers.awq("gemm", 64), {"quant_method": "awq", "bits": 4, "group_size": 64, "version": "gemm"}, {"U4_64"}),
    "awq gemv": Case(packers.awq("gemv", 32), {"quant_method": "awq", "w_bit": 4, "q_group_size": 32, "version": "GEMV"}, {"U4_32"}),
    "fp8 tensor": fp8(packers.fp8("tensor"), FP8),
    "fp8 channel": fp8(packers.fp8("channel", dtype=packers.BF16), FP8, "fbgemm_fp8"),
    "fp8 block": fp8(packers.fp8("block", "weight_scale_inv"), {"E4M3_128", "E4M3_32"}, weight_block_size=[128, 128]),
    "fp8 of Mistral's names": fp8(packers.fp8("tensor", "qscale_weight", packers.BF16), FP8),
    "fp8 of modelopt": fp8(packers.fp8("tensor"), FP8, "modelopt", quant_algo="FP8"),
    "compressed fp8": compressed(packers.fp8("channel"), 8, FP8, type="float"),
    "compressed int8": compressed(packers.int8(), 8, {"I8_128", "I8_32"}),
    "compressed int8 in f16": compressed(packers.int8(dtype=packers.F16), 8, {"Q8_0"}),
    "compressed int8 with zeros": compressed(packers.int8(False), 8, {"U8_128", "U8_64"}),
    "compressed int4": compressed(packers.packed(4, 64), 4, {"U4_64"}),
    "compressed int4 with zeros": compressed(packers.packed(4, 32, symmetric=False), 4, {"U4_32"}),
    "compressed int4, act-order": compressed(packers.packed(4, 64, act_order=True), 4, {"U4_64"}),
    "compressed int8 packed": compressed(packers.packed(8, -1), 8, {"I8_128", "I8_32"}),
    "compressed int3": compressed(packers.packed(3, 64), 3, {"U3_64"}),
    "compressed nvfp4": compressed(packers.fp4("packed"), 4, {"NVFP4"}),
    "compressed mxfp4": compressed(packers.fp4("mx"), 4, {"MXFP4"}),
    "modelopt nvfp4": Case(packers.fp4("modelopt"), {"quant_algo": "NVFP4"}, {"NVFP4"}, key="hf_quant_config.json"),
    "bitsandbytes nf4": Case(packers.bitsandbytes("nf4", double=False), {"quant_method": "bitsandbytes"}, {"NF4_64"}),
    "bitsandbytes nf4, double": Case(packers.bitsandbytes("nf4", double=True), {"quant_method": "bitsandbytes"}, {"NF4_64"}),
    "bitsandbytes fp4": Case(packers.bitsandbytes("fp4", double=True, block=256), {"quant_method": "bitsandbytes"}, {"FP4_64"}),
    "bitsandbytes int8": Case(packers.int8_of_bitsandbytes, {"quant_method": "bitsandbytes"}, {"I8_128", "I8_32"}),
    "mlx 4": mlx(4, 64, {"U4_64"}),
    "mlx 3": mlx(3, 32, {"U3_32"}),
    "mlx 6": mlx(6, 64, {"U8_64"}),
    "bitnet": Case(packers.bitnet, {"quant_method": "bitnet"}, {"U2_128", "U2_64"}),
    "exl2 to 4 bits": Case(packers.exl2(3, 4, 2), {"quant_method": "exl2"}, {"U4_32"}),
    "exl2": Case(packers.exl2(5, 4, 3, 6), {"quant_method": "exl2"}, {"I8_32"}),
}


def make(case: Case, folder: Path) -> parity.Tiny:
    """A model whose linears are packed, and transformers' model of what they mean."""
    made = parity.tiny(case.make(**SIZES), folder)
    rng = np.random.default_rng(0)
    stored = load_file(folder / "model.safetensors")
    meant = dict(stored)
    for name in [name for name in stored if name.endswith("_proj.weight")]:
        tensors, values = case.pack(stored.pop(name).numpy(), rng)
        meant[name] = torch.from_numpy(values).clone()
        stored |= {f"{name.removesuffix('weight')}{suffix}": tensor.clone().contiguous() for suffix, tensor in tensors.items()}
    save_file(meant, folder / "model.safetensors", {"format": "pt"})
    made.hf = tf.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval()
    save_file(stored, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    if case.key.endswith(".json"):
        (folder / case.key).write_text(json.dumps({"producer": {"name": "modelopt"}, "quantization": case.config}))
    else:
        (folder / "config.json").write_text(json.dumps(config | {case.key: case.config}))
    return made


MOE = {"head_dim": 32, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64, "norm_topk_prob": True}
LATENT = {"num_key_value_heads": 4, "moe_intermediate_size": 64, "kv_lora_rank": 64, "q_lora_rank": 64} | {
    "qk_rope_head_dim": 16,
    "qk_nope_head_dim": 16,
    "v_head_dim": 16,
}
#: Models whose tensors are not Llama's: experts, fused matrices, biases, latent attention.
OTHERS = {
    "experts": lambda **sizes: tf.Qwen3MoeConfig(**sizes, **MOE),
    "fused": lambda **sizes: tf.Phi3Config(**sizes, pad_token_id=0),
    "biases": tf.Qwen2Config,
    "latent": lambda **sizes: tf.DeepseekV3Config(**{**DEEPSEEK, **sizes, **LATENT}),
}


@pytest.mark.parametrize("kind", OTHERS)
@pytest.mark.parametrize("name", ["gptq 4, act-order", "awq gemm", "fp8 block", "modelopt nvfp4"])
def test_other_models(name: str, kind: str, tmp_path: Path) -> None:
    made = make(replace(CASES[name], make=OTHERS[kind]), tmp_path)
    model, tokens = build_model(Checkpoint(tmp_path)), prompt(67, 40)
    assert difference(whole(Runner(model), tokens), made.expected(tokens)) <= parity.TOLERANCE
    shipped = Runner(model, lambda model, options: on_torch.prepare(model, options=options))
    assert difference(whole(shipped, tokens), made.expected(tokens)) <= parity.TOLERANCE


@pytest.fixture(scope="module", params=CASES)
def packed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Case, parity.Tiny]:
    case = CASES[request.param]
    return case, make(case, tmp_path_factory.mktemp("model"))


def test_each_matrix_is_what_was_packed(packed: tuple[Case, parity.Tiny]) -> None:
    case, made = packed
    with Checkpoint(made.folder) as checkpoint:
        tensors = checkpoint.tensors
        linears = {name: t for name, t in tensors.items() if name.startswith("blk") and t.ndim == 2}
        assert {t.format.name for t in linears.values()} == case.formats
        meant = made.hf.state_dict()["model.layers.1.mlp.down_proj.weight"].numpy()
        scale = tensors["blk.1.ffn_down.scale"].numpy()[0] if "blk.1.ffn_down.scale" in tensors else 1
        np.testing.assert_allclose(linears["blk.1.ffn_down.weight"].numpy() * scale, meant, rtol=1e-5, atol=1e-6 * np.abs(meant).max())


def test_logits_are_transformers(packed: tuple[Case, parity.Tiny]) -> None:
    model, tokens = build_model(Checkpoint(packed[1].folder)), prompt(67, 40)
    assert difference(whole(Runner(model), tokens), packed[1].expected(tokens)) <= parity.TOLERANCE


def test_logits_in_chunks_and_mixtures(tmp_path: Path) -> None:
    parity.check_parity(make(CASES["gptq 4, act-order"], tmp_path))


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param(native, id="native", marks=pytest.mark.skipif(not native.available(), reason="the core is not compiled")),
        pytest.param(on_torch, id="torch"),
    ],
)
def test_logits_on_other_backends(packed: tuple[Case, parity.Tiny], backend: Any) -> None:
    """Activations in f32, as numbers to compare need."""
    options = Options(kv_dtype="f32", **({"activations": "f32"} if backend is native else {}))
    model, tokens = build_model(Checkpoint(packed[1].folder)), prompt(67, 40)
    got = whole(Runner(model, lambda model, options: backend.prepare(model, options=options), options), tokens)
    assert difference(got, packed[1].expected(tokens)) <= parity.TOLERANCE


def test_adapters_know_of_no_order(tmp_path: Path) -> None:
    made = make(CASES["gptq 4 symmetric, act-order"], tmp_path / "packed")
    made.hf.save_pretrained(tmp_path / "meant")
    models = [build_model(Checkpoint(tmp_path / name)) for name in ("packed", "meant")]
    change, tokens = adapter(models[1], 1), prompt(67, 40)
    runner, meant = Runner(attach(models[0], list(change.pairs))), whole(Runner(merged(models[1], change)), tokens)
    runner.executable.load_adapter(1, change)
    got = runner.step({0: tokens}, adapter=np.ones(1, np.int32))[0]["logits"]
    assert difference(meant, made.expected(tokens)) > 0.1
    assert difference(got, meant) <= parity.TOLERANCE


def test_what_trains_is_put_back_in_its_order(tmp_path: Path) -> None:
    made = make(CASES["gptq 4 symmetric, act-order"], tmp_path)
    before = Checkpoint(made.folder).tensors
    model = trainable(made.folder, train=["blk.0.ffn_down*"], lora=Lora(("blk.1.*",), rank=2))
    torch.manual_seed(0)
    pairs = {name: parameter for name, parameter in model.named_parameters() if ".lora_" in name}
    with torch.no_grad():
        for parameter in pairs.values():
            parameter.normal_()
    after, change = model.tensors(), model.adapter()
    np.testing.assert_allclose(after["blk.0.ffn_down.weight"].numpy(), before["blk.0.ffn_down.weight"].numpy(), atol=1e-6)
    down, up = change.pairs["blk.1.ffn_down.weight"]
    meant = before["blk.1.ffn_down.weight"].numpy() + change.scale * up @ down
    np.testing.assert_allclose(after["blk.1.ffn_down.weight"].numpy(), meant, atol=1e-5)


def test_another_format_has_columns_in_their_places(tmp_path: Path) -> None:
    tensor = Checkpoint(make(CASES["gptq 4, act-order"], tmp_path).folder).tensors["blk.0.ffn_up.weight"]
    assert tensor.column_order is not None
    np.testing.assert_array_equal(Quantized("x", tensor, FORMATS["F32"]).numpy(), tensor.numpy())


def test_two_ranks_of_columns_in_another_order(tmp_path: Path) -> None:
    made = make(CASES["gptq 4 symmetric, act-order"], tmp_path)
    model, tokens = build_model(Checkpoint(made.folder)), prompt(67, 40)
    for logits in in_ranks(model, 2, lambda runner: whole(runner, tokens)):
        assert difference(logits, made.expected(tokens)) <= parity.TOLERANCE
