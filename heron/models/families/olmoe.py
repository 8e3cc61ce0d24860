"""OLMoE (Muennighoff et al. 2024): experts in every layer, and norms over all queries and all keys at once.

The experts' weights are not renormalized. ``clip_qkv`` bounds queries, keys and values.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.transforms import StackExperts
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

HF = HFMapping("olmoe", transforms=(StackExperts(),))


@family("olmoe", olmoe=HF)
def olmoe(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, Rope.read(p, heads.dim, "half"), wide_norm=norm, clip=p.number("attention.clamp_kqv", 0.0))
    router = Router(
        p.integer("expert_count", least=1),
        p.integer("expert_used_count", least=1),
        renormalize=p.flag("expert_weights_norm", False),
    )
    ffn = MoE(router, p.integer("feed_forward_length", least=1))
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
