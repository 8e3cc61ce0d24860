"""Nomic Embed (Nussbaum et al. 2024): BERT with rope, gated feed-forward blocks, and no biases but in its norms."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PostNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Layer
from heron.models.encoder import Encoder, pooling
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys, of transformers' configuration or of Nomic's own.

    Nomic's context is what was trained: beyond it the model's rope is stretched. Raises UnsupportedError for other variants.
    """
    act = config.text("activation_function", config.text("hidden_act", "silu"))
    if act not in ("silu", "swiglu") or config.flag("prenorm", False) or config.integer("moe_every_n_layers", 0):
        raise UnsupportedError(f"{config.where}: only Nomic's BERT with silu, norms after its sublayers, and no experts is supported")
    if config.number("rotary_emb_fraction", 1.0) != 1 or config.flag("rotary_emb_interleaved", False):
        raise UnsupportedError(f"{config.where}: only rope over whole heads, paired by halves, is supported")
    values = {"rope.freq_base": 1000.0, **common_metadata(config)}
    return {
        **values,
        "context_length": config.integer("max_trained_positions", values.get("context_length", 2048)),
        "attention.causal": False,
        "tokenizer.ggml.token_type_count": config.integer("type_vocab_size", 2),
    }


@family("nomic-bert", nomic_bert=HFMapping("nomic-bert", metadata, prefix=r"(nomic_)?bert\.", ignore=(r"(^|\.)pooler\.", r"^cls\.")))
def nomic_bert(p: Params) -> Encoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    if p.flag("attention.causal", False):
        raise UnsupportedError(f"{p.where}: a BERT with attention.causal true is not supported")
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "half"), mask=Mask(causal=False, cached=False))
    layer = Layer(attention, GatedMLP(p.integer("feed_forward_length", least=1)), PostNorm(norm))
    return Encoder((layer,) * p.layers, norm, pooling=pooling(p, "mean"))
