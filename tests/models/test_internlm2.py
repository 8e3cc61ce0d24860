"""InternLM 2, which transformers lacks: a Llama's weights in InternLM's folder layout must give the Llama's logits."""

from __future__ import annotations

import json
import re

import llama_cpp_peer as peer
import numpy as np
import parity
import pytest
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tiny_gguf import check_commands, write_tiny

from heron.backends import native
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.models.registry import build_model

HEADS, KV_HEADS, DIM, HIDDEN = 6, 3, 8, 48
NAMES = {
    "embed_tokens": "tok_embeddings",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "self_attn.o_proj": "attention.wo",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.up_proj": "feed_forward.w3",
    "mlp.down_proj": "feed_forward.w2",
    "lm_head": "output",
}

Tensors = dict[str, NDArray[np.float32]]


def grouped(q: NDArray[np.float32], k: NDArray[np.float32], v: NDArray[np.float32]) -> NDArray[np.float32]:
    """For each key-value head: its queries, its key, its value (modeling_internlm2.py: ``b q (h gs d)``)."""
    parts = [x.reshape(KV_HEADS, -1, DIM, *x.shape[1:]) for x in (q, k, v)]
    return np.concatenate(parts, axis=1).reshape(-1, *q.shape[1:])


def internlm(llama: Tensors) -> Tensors:
    """The same weights under InternLM's names and in its layout."""
    made: Tensors = {}
    for name, values in llama.items():
        if match := re.fullmatch(r"(.*)\.self_attn\.q_proj\.(weight|bias)", name):
            stem, kind = match.groups()
            made[f"{stem}.attention.wqkv.{kind}"] = grouped(*(llama[f"{stem}.self_attn.{part}_proj.{kind}"] for part in "qkv"))
        elif not re.search(r"self_attn\.[kv]_proj", name):
            for theirs, ours in NAMES.items():
                name = name.replace(theirs, ours)
            made[name] = values
    return made


@pytest.fixture(scope="module", params=["plain", "biased"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    bias, sizes = request.param == "biased", {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_size": HIDDEN}
    config = transformers.LlamaConfig(
        **sizes, vocab_size=67, intermediate_size=80, num_hidden_layers=2, attention_bias=bias, rope_theta=500.0, pad_token_id=0
    )
    llama = parity.tiny(config, tmp_path_factory.mktemp("llama"))
    folder = tmp_path_factory.mktemp("internlm2")
    save_file(internlm(load_file(llama.folder / "model.safetensors")), folder / "model.safetensors")
    stored = json.loads((llama.folder / "config.json").read_text())
    rope = {"rope_theta": 500.0, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    kept = {
        k: stored[k] for k in (*sizes, "vocab_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps", "max_position_embeddings")
    }
    (folder / "config.json").write_text(json.dumps({"model_type": "internlm2", "bias": bias, "tie_word_embeddings": False, **kept, **rope}))
    return parity.Tiny(folder, llama.hf)


@pytest.mark.covers("logits", "reference")
def test_every_way_of_computing_gives_the_logits_of_the_llama(made: parity.Tiny) -> None:
    model = parity.check_parity(made)
    assert model.architecture == "internlm2"


@pytest.mark.covers("logits", "native")
@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
def test_the_native_backend_computes_the_same(made: parity.Tiny) -> None:
    options = Options(kv_dtype="f32", activations="f32", threads=1)
    parity.check_parity(made, prepare=lambda model, options: native.prepare(model, options=options), options=options)


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    assert parity.check_sensitive(made)


@pytest.mark.covers("GGUF", "reference")
def test_a_gguf_file_has_q_k_and_v_apart_and_computes_the_same(made: parity.Tiny) -> None:
    checkpoint, path, tokens = Checkpoint(made.folder), made.folder / "written.gguf", parity.prompt(67, 40)
    write_gguf(path, checkpoint.metadata, checkpoint.tensors)
    stored = Checkpoint(path)
    assert stored.tensors["blk.1.attn_k.weight"].shape == (KV_HEADS * DIM, HIDDEN)
    assert parity.difference(parity.whole(parity.Runner(build_model(stored)), tokens), made.expected(tokens)) <= parity.TOLERANCE


@pytest.mark.covers("command", "native")
@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
def test_the_commands(made: parity.Tiny) -> None:
    check_commands(made)


@pytest.mark.slow
@pytest.mark.covers("logits", "llama.cpp")
@pytest.mark.parametrize("made", ["plain"], indirect=True)  # llama.cpp has no bias on the output
def test_llama_cpp_computes_the_same(made: parity.Tiny) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    path, tokens = write_tiny(made.folder), parity.prompt(67, 40)
    ours = parity.whole(parity.Runner(build_model(Checkpoint(path))), tokens)
    assert parity.difference(ours, peer.logits(path, tokens)) <= parity.TOLERANCE
