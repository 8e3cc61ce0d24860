"""Gemma (Gemma Team 2024): Llama's shape with heads of their own size, a gelu gate, and embeddings times sqrt(width).

HF's norms multiply by 1 + w. Its configurations name the gate's activation in three ways; all mean the tanh approximation.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NormPlusOne
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

#: GGUF's map has no head for Gemma: it is the embedding. Folders may store it all the same, or have one of their own.
RENAMES = ((r"lm_head\.weight", "output.weight"),)


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json of any Gemma -> GGUF keys."""
    if config.flag("use_bidirectional_attention", False):
        raise UnsupportedError(f"{config.where}: use_bidirectional_attention is not supported; Gemma is run as a causal model")
    return common_metadata(config)


HF = HFMapping("gemma", metadata, renames=RENAMES, transforms=(NormPlusOne((r".*norm\.weight",)),))


@family("gemma", gemma=HF)
def gemma(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "half"))
    ffn = GatedMLP(p.integer("feed_forward_length", least=1), "gelu")
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm, embedding_scale=p.hidden**0.5)
