"""Nemotron (Parmar et al. 2024): layer norms that HF stores less one, a squared relu without a gate, rope on half of each head."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NormPlusOne
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    config.expect("hidden_act", "relu2")
    return common_metadata(config)


@family("nemotron", nemotron=HFMapping("nemotron", metadata, transforms=(NormPlusOne((r".*norm\.weight",)),)))
def nemotron(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    layer = Layer(Attention(heads, Rope.read(p, heads.dim, "half")), MLP(p.integer("feed_forward_length", least=1), "relu2"), PreNorm(norm))
    return Decoder((layer,) * p.layers, norm)
