"""Command R (Cohere 2024): attention and MLP beside each other after one layer norm without bias; logits are scaled.

R+ normalizes each head of queries and keys, with a gain of its own. HF's rope turns adjacent pairs, as GGUF's does.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import EachHead, Norm
from heron.models.blocks.residual import Parallel
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Head, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    return {**common_metadata(config), "logit_scale": config.number("logit_scale", 0.0625)}


@family("command-r", cohere=HFMapping("command-r", metadata))
def command_r(p: Params) -> Decoder:
    heads, eps = Heads.read(p), p.number("attention.layer_norm_epsilon")
    norm = Norm(eps, "layer")
    attention = Attention(heads, Rope.read(p, heads.dim, "adjacent"), head_norm=EachHead(eps, "layer"))
    layer = Layer(attention, GatedMLP(p.integer("feed_forward_length", least=1)), Parallel(norm))
    return Decoder((layer,) * p.layers, norm, Head(p.number("logit_scale")))
