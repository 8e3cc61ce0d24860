"""Phi 1, 1.5 and 2 (Gunasekar et al. 2023): attention and MLP beside each other after one layer norm; rope on a part of each head."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import MLP, TANH_GELU
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Parallel
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    config.expect("hidden_act", *TANH_GELU)
    config.expect("qk_layernorm", False)
    return common_metadata(config)


@family("phi2", phi=HFMapping("phi2", metadata))
def phi2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    layer = Layer(Attention(heads, Rope.read(p, heads.dim, "half")), MLP(p.integer("feed_forward_length", least=1), "gelu"), Parallel(norm))
    return Decoder((layer,) * p.layers, norm)
