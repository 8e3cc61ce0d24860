"""Phi 3 and the dense Phi 4 (Abdin et al. 2024): Llama's shape with q, k and v in one matrix, gate and up in another, and
longrope in the models of long contexts.

Phi 3 mini's sliding window is used, as transformers does; llama.cpp leaves it out.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@family("phi3", phi3=HFMapping("phi3"))
def phi3(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    rope = Rope.read(p, heads.dim, "half")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    return Decoder(tuple(Layer(Attention(heads, rope, mask=mask), ffn, PreNorm(norm)) for mask in Mask.each(p)), norm)
