"""InternLM 2, which transformers lacks: a tiny Llama's weights in InternLM's folder layout."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import parity
import transformers
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

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


def internlm2(folder: Path, bias: bool = False) -> parity.Tiny:
    """The model in ``folder``; its logits are the Llama's, which is saved beside it."""
    sizes = {"num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "hidden_size": HIDDEN}
    config = transformers.LlamaConfig(
        **sizes, vocab_size=67, intermediate_size=80, num_hidden_layers=2, attention_bias=bias, rope_theta=500.0, pad_token_id=0
    )
    llama = parity.tiny(config, folder / "llama")
    save_file(internlm(load_file(llama.folder / "model.safetensors")), folder / "model.safetensors")
    stored = json.loads((llama.folder / "config.json").read_text())
    rope = {"rope_theta": 500.0, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    same = (*sizes, "vocab_size", "intermediate_size", "num_hidden_layers", "rms_norm_eps", "max_position_embeddings")
    kept = {key: stored[key] for key in same}
    (folder / "config.json").write_text(json.dumps({"model_type": "internlm2", "bias": bias, "tie_word_embeddings": False, **kept, **rope}))
    return parity.Tiny(folder, llama.hf)
