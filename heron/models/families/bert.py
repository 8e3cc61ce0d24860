"""BERT (Devlin et al. 2018): norms after each sublayer, learned positions, attention to both sides.

The activation is the exact gelu, as in HF; llama.cpp runs its tanh approximation.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PostNorm
from heron.models.decoder import Layer
from heron.models.encoder import Encoder, pooling
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for what BERT's file does not compute."""
    if (act := config.text("hidden_act", "gelu")) != "gelu":
        raise UnsupportedError(f"{config.where}: BERT with hidden_act {act!r} is not supported, only gelu")
    if config.flag("is_decoder", False) or config.text("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedError(f"{config.where}: BERT as a decoder, or with relative positions, is not supported")
    types = config.integer("type_vocab_size", 2)
    return {**common_metadata(config), "attention.causal": False, "tokenizer.ggml.token_type_count": types}


@family("bert", bert=HFMapping("bert", metadata, prefix=r"bert\.", ignore=(r"(^|\.)pooler\.", r"^cls\.", r"position_ids$")))
def bert(p: Params) -> Encoder:
    heads = p.integer("attention.head_count", least=1)
    norm = Norm(p.number("attention.layer_norm_epsilon"), "layer")
    if p.flag("attention.causal", False):
        raise UnsupportedError(f"{p.where}: a BERT with attention.causal true is not supported")
    attention = Attention(Heads(heads, heads, p.hidden // heads), mask=Mask(causal=False, cached=False))
    layer = Layer(attention, MLP(p.integer("feed_forward_length", least=1), "gelu_erf"), PostNorm(norm))
    return Encoder((layer,) * p.layers, norm, p.context_length, pooling=pooling(p, "mean"))
