"""Gemma (Gemma Team 2024): Llama's shape with heads of their own size, a gelu gate, and embeddings times sqrt(width).

HF's norms multiply by 1 + w. Its configurations name the gate's activation in three ways; all mean the tanh approximation.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.transforms import NormPlusOne
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
HF = HFMapping("gemma", renames=RENAMES, transforms=(NormPlusOne((r".*norm\.weight",)),))


@family("gemma", gemma=HF)
def gemma(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "half"))
    ffn = GatedMLP(p.integer("feed_forward_length", least=1), "gelu")
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm, embedding_scale=p.hidden**0.5)
