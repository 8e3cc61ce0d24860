"""Gemma 3 (Gemma Team 2025): five layers with a sliding window, then one that sees all, each kind with its own rope.

HF's norms multiply by 1 + w. Norms stand before and after each sublayer, and on query and key heads.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NormPlusOne
from heron.models.blocks.attention import Attention, Heads, Mask, Score
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Sandwich
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Head, Layer
from heron.models.families.gemma import metadata as any_gemma
from heron.models.params import Params
from heron.models.registry import family

#: Layers from one that sees all tokens to the next, in files that do not say.
PERIOD = 6

#: The 27B model, known by its layers: files do not say that its scores are scaled by the width for each head.
LAYERS_27B = 62


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    return {**any_gemma(config), "attention.scale": config.number("query_pre_attn_scalar", 256) ** -0.5}


@family("gemma3", gemma3=(HF := HFMapping("gemma3", metadata, transforms=(NormPlusOne((r".*norm\.weight",)),))), gemma3_text=HF)
def gemma3(p: Params) -> Decoder:
    heads = p.integer("attention.head_count", least=1)
    dim = p.integer("attention.key_length", 256, least=1)
    norm = Norm(p.rms_eps)
    everywhere = Rope.read(p, dim, "half")
    nearby = Rope(everywhere.dims, p.number("rope.freq_base_swa", 10000.0), "half")
    scale = p.number("attention.scale", (p.hidden // heads if p.layers == LAYERS_27B else dim) ** -0.5)

    def layer(mask: Mask) -> Layer:
        attention = Attention(
            Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim),
            rope=nearby if mask.window else everywhere,
            head_norm=norm,
            score=Score(scale),
            mask=mask,
        )
        return Layer(attention, GatedMLP(p.integer("feed_forward_length", least=1), "gelu"), Sandwich(norm))

    return Decoder(
        tuple(map(layer, Mask.each(p, PERIOD))),
        norm,
        Head(softcap=p.number("final_logit_softcapping", 0.0)),
        embedding_scale=p.hidden**0.5,
    )
