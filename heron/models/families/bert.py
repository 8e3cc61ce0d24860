"""BERT (Devlin et al. 2018): norms after each sublayer, learned positions, attention to both sides.

RoBERTa (Liu et al. 2019) and DistilBERT (Sanh et al. 2019) compute the same. The activation is the exact gelu, as in HF; llama.cpp
runs its tanh approximation.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms_rows import DropRows
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PostNorm
from heron.models.decoder import Layer
from heron.models.encoder import Encoder, pooling
from heron.models.params import Params
from heron.models.registry import family

#: RoBERTa's positions count from here: its padding, token 1, has position 1.
FIRST_PLACE = 2


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for what BERT's file does not compute."""
    act = config.text("hidden_act", config.text("activation", "gelu"))
    if act != "gelu":
        raise UnsupportedError(f"{config.where}: BERT with hidden_act {act!r} is not supported, only gelu")
    if config.flag("is_decoder", False) or config.text("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedError(f"{config.where}: BERT as a decoder, or with relative positions, is not supported")
    types = config.integer("type_vocab_size", 2)
    return {**common_metadata(config), "attention.causal": False, "tokenizer.ggml.token_type_count": types}


def roberta(config: Metadata) -> dict[str, Any]:
    """As BERT's, with places for fewer tokens than there are positions."""
    if (padding := config.integer("pad_token_id", 1)) != FIRST_PLACE - 1:
        raise UnsupportedError(f"{config.where}: a RoBERTa with pad_token_id {padding} is not supported, only 1")
    return {**metadata(config), "context_length": config.integer("max_position_embeddings", 514, minimum=3) - FIRST_PLACE}


def distilbert(config: Metadata) -> dict[str, Any]:
    """As BERT's, under DistilBERT's names, which are none for its epsilon."""
    sizes = {"embedding_length": config.integer("dim"), "feed_forward_length": config.integer("hidden_dim")}
    return {"attention.layer_norm_epsilon": 1e-12, **metadata(config), **sizes}


NO_HEADS = (r"(^|\.)pooler\.", r"^cls\.", r"^lm_head\.", r"^vocab_", r"position_ids$")
BERT = HFMapping("bert", metadata, prefix=r"bert\.", ignore=NO_HEADS)
ROBERTA = HFMapping("bert", roberta, transforms=(DropRows((r"position_embd\.weight",), FIRST_PLACE),), prefix=r"roberta\.", ignore=NO_HEADS)
DISTILBERT = HFMapping("bert", distilbert, prefix=r"distilbert\.", ignore=NO_HEADS)


@family("bert", bert=BERT, roberta=ROBERTA, camembert=ROBERTA, distilbert=DISTILBERT, **{"xlm-roberta": ROBERTA})
def bert(p: Params) -> Encoder:
    heads = p.integer("attention.head_count", least=1)
    norm = Norm(p.number("attention.layer_norm_epsilon"), "layer")
    if p.flag("attention.causal", False):
        raise UnsupportedError(f"{p.where}: a BERT with attention.causal true is not supported")
    attention = Attention(Heads(heads, heads, p.hidden // heads), mask=Mask(causal=False, cached=False))
    layer = Layer(attention, MLP(p.integer("feed_forward_length", least=1), "gelu_erf"), PostNorm(norm))
    return Encoder((layer,) * p.layers, norm, p.context_length, pooling=pooling(p, "mean"))
