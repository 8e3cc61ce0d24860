"""StarCoder 2 (Lozhkov et al. 2024): layer norms, biases everywhere, rope, a plain MLP. Its window is in all layers or none."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import MLP, TANH_GELU
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    config.expect("hidden_act", *TANH_GELU)
    return common_metadata(config)


@family("starcoder2", starcoder2=HFMapping("starcoder2", metadata))
def starcoder2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    attention = Attention(heads, Rope.read(p, heads.dim, "half"), mask=Mask(window=p.integer("attention.sliding_window", 0)))
    ffn = MLP(p.integer("feed_forward_length", least=1), "gelu")
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
