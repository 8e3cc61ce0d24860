"""Llama, and the models that took its shape: Mistral (with a sliding window), Mixtral (with experts).

Touvron et al. 2023, Jiang et al. 2023 and 2024. GGUF stores q and k rows permuted to adjacent rope pairs.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.transforms import StackExperts, UnpermuteRope
from heron.models.blocks.attention import Attention, Heads, Mask, Score
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

HF = HFMapping("llama", common_metadata, transforms=(UnpermuteRope(), StackExperts()))


@family("llama", llama=HF, mistral=HF, mixtral=HF)
def llama(p: Params) -> Decoder:
    heads, experts = p.integer("attention.head_count", least=1), p.integer("expert_count", 0)
    dim = p.integer("attention.key_length", p.hidden // heads, least=1)
    width = p.integer("feed_forward_length", least=1)
    norm = Norm(p.rms_eps)
    attention = Attention(
        Heads(heads, p.integer("attention.head_count_kv", heads, least=1), dim, p.integer("attention.value_length", dim)),
        rope=Rope.read(p, dim, "adjacent"),
        score=Score(p.number("attention.scale", 0.0)),
        mask=Mask(window=p.integer("attention.sliding_window", 0)),
    )
    ffn = MoE(Router(experts, p.integer("expert_used_count", least=1)), width) if experts else GatedMLP(width)
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
