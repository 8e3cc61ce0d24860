"""Command R7B (Cohere 2024): as Command R, with three layers of a window and rope to one that sees all without rope."""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Parallel
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Head, Layer
from heron.models.families.command_r import metadata
from heron.models.params import Params
from heron.models.registry import family

#: Layers from one that sees all tokens to the next, in files that do not say.
PERIOD = 4


@family("cohere2", cohere2=HFMapping("cohere2", metadata))
def cohere2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    rope = Rope.read(p, heads.dim, "adjacent")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    layers = tuple(Layer(Attention(heads, rope if mask.window else None, mask=mask), ffn, Parallel(norm)) for mask in Mask.each(p, PERIOD))
    return Decoder(layers, norm, Head(p.number("logit_scale")))
