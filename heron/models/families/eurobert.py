"""EuroBERT (Boizard et al. 2025): Llama's layers with attention to both sides."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Layer
from heron.models.encoder import Encoder, pooling
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for another activation than silu."""
    if (act := config.text("hidden_act", "silu")) != "silu":
        raise UnsupportedError(f"{config.where}: EuroBERT with hidden_act {act!r} is not supported, only silu")
    return {**common_metadata(config), "attention.causal": False}


@family("eurobert", eurobert=HFMapping("eurobert", metadata, prefix=r"model\.", ignore=(r"^lm_head\.",)))
def eurobert(p: Params) -> Encoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    if p.flag("attention.causal", False):
        raise UnsupportedError(f"{p.where}: a EuroBERT with attention.causal true is not supported")
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "half"), mask=Mask(causal=False, cached=False))
    layer = Layer(attention, GatedMLP(p.integer("feed_forward_length", least=1)), PreNorm(norm))
    return Encoder((layer,) * p.layers, final_norm=norm, pooling=pooling(p, "mean"))
