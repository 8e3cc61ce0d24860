"""MPT (MosaicML 2023): scores that fall with distance (ALiBi), queries, keys and values clipped, norms without biases.

The activation is the exact gelu, as in HF; llama.cpp runs its tanh approximation.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.models.blocks.attention import Attention, Heads, Score
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    attention = config.table("attn_config")
    attention.expect("alibi", True)
    attention.expect("qk_ln", False)
    attention.expect("softmax_scale", None)
    return {
        **common_metadata(config),
        "feed_forward_length": config.integer("expansion_ratio") * config.integer("d_model"),
        "attention.max_alibi_bias": float(attention.number("alibi_bias_max", 8.0)),
        "attention.clamp_kqv": attention.number("clip_qkv", None) or 0.0,
    }


@family("mpt", mpt=HFMapping("mpt", metadata))
def mpt(p: Params) -> Decoder:
    norm = Norm(p.number("attention.layer_norm_epsilon", 1e-5), "layer")
    score = Score(alibi=p.number("attention.max_alibi_bias", 8.0))
    attention = Attention(Heads.read(p), clip=p.number("attention.clamp_kqv", 0.0), score=score)
    layer = Layer(attention, MLP(p.integer("feed_forward_length", least=1), "gelu_erf"), PreNorm(norm))
    return Decoder((layer,) * p.layers, norm)
