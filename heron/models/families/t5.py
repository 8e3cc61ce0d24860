"""T5 (Raffel et al. 2020), T5 1.1 and Flan-T5: an encoder, and a decoder that reads it."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Heads
from heron.models.blocks.mlp import MLP, GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.decoder import Head
from heron.models.encoder_decoder import EncoderDecoder, RelativeAttention
from heron.models.params import Params
from heron.models.registry import family

#: Source tokens that T5 was trained with; its relative positions have no limit, and its config names none.
CONTEXT = 512


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for a feed-forward block that T5's file does not compute."""
    kind = config.text("feed_forward_proj", "relu")
    if kind not in ("relu", "gated-gelu"):
        raise UnsupportedError(f"{config.where}: T5 with feed_forward_proj {kind!r} is not supported; known are relu and gated-gelu")
    scaled = config.flag("scale_decoder_outputs", config.flag("tie_word_embeddings", True))
    return {
        "context_length": CONTEXT,
        **common_metadata(config),
        "attention.layer_norm_rms_epsilon": config.number("layer_norm_epsilon", 1e-6),
        "attention.relative_buckets_count": config.integer("relative_attention_num_buckets", 32),
        "attention.relative_max_distance": config.integer("relative_attention_max_distance", 128),
        "decoder_block_count": config.integer("num_decoder_layers", config.integer("num_layers")),
        "decoder_start_token_id": config.integer("decoder_start_token_id", config.integer("pad_token_id", 0)),
        "hidden_activation": "gelu" if kind == "gated-gelu" else "relu",
        "logit_scale": config.integer("d_model") ** -0.5 if scaled else 1.0,
    }


@family("t5", t5=HFMapping("t5", metadata, ignore=(r"(encoder|decoder)\.embed_tokens\.weight",)))
def t5(p: Params) -> EncoderDecoder:
    heads, width = p.integer("attention.head_count", least=1), p.integer("feed_forward_length", least=1)
    activation = p.text("hidden_activation", "gelu")
    if activation not in ("gelu", "relu"):
        raise UnsupportedError(f"{p.where}: a T5 with hidden_activation {activation!r} is not supported")
    attention = RelativeAttention(
        Heads(heads, heads, p.integer("attention.key_length", p.hidden // heads, least=1)),
        p.integer("attention.relative_buckets_count", least=2),
        p.integer("attention.relative_max_distance", 128, least=2),
    )
    return EncoderDecoder(
        p.layers,
        p.integer("decoder_block_count", p.layers, least=1),
        attention,
        GatedMLP(width, "gelu") if activation == "gelu" else MLP(width, "relu"),
        Norm(p.rms_eps),
        Head(scale=p.number("logit_scale", 1.0)),
        p.integer("decoder_start_token_id", 0, least=0),
    )
