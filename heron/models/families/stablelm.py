"""StableLM (Bellagente et al. 2024): layer norms, rope on a part of each head; the 12B normalizes each head with a gain of
its own, and, having no second norm, runs attention and MLP beside each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from heron.checkpoint.head_norms import StackHeadNorms
from heron.checkpoint.hf import HFMapping
from heron.graph.graph import Value
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import EachHead, Norm
from heron.models.blocks.residual import Parallel, PreNorm, Stream, Sublayer
from heron.models.blocks.rope import Rope
from heron.models.builder import ModelBuilder
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@dataclass(frozen=True)
class AsStored:
    """In turn where there is a norm before the MLP, else in parallel: files tell by their tensors alone."""

    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        residual = PreNorm(self.norm) if b.has("ffn_norm.weight") else Parallel(self.norm)
        return residual.build(b, x, delta, mixer, ffn)


@family("stablelm", stablelm=HFMapping("stablelm", transforms=(StackHeadNorms(),)))
def stablelm(p: Params) -> Decoder:
    heads, eps = Heads.read(p), p.number("attention.layer_norm_epsilon")
    attention = Attention(heads, Rope.read(p, heads.dim, "half"), head_norm=EachHead(eps, "layer"))
    norm = Norm(eps, "layer")
    layer = Layer(attention, GatedMLP(p.integer("feed_forward_length", least=1)), AsStored(norm))
    return Decoder((layer,) * p.layers, norm)
