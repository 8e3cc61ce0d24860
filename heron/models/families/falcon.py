"""Falcon (Almazrouei et al. 2023): attention and MLP beside each other, after one norm (7B) or one for each (40B).

The activation is the exact gelu, as in HF; llama.cpp runs its tanh approximation.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms_fused import UngroupQKV
from heron.graph.graph import Value
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Parallel, Stream, Sublayer
from heron.models.blocks.rope import Rope
from heron.models.builder import ModelBuilder
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


@dataclass(frozen=True)
class FalconParallel:
    """Where there are two norms, the attention's is ``attn_norm_2``."""

    norm: Norm

    def build(self, b: ModelBuilder, x: Value, delta: Value | None, mixer: Sublayer, ffn: Sublayer) -> Stream:
        names = ("attn_norm_2", "attn_norm") if b.has("attn_norm_2.weight") else ("attn_norm", "")
        return Parallel(self.norm, *names).build(b, x, delta, mixer, ffn)


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    config.expect("activation", "gelu")
    config.expect("alibi", False)
    grouped = config.flag("new_decoder_architecture", False)
    if not grouped:
        config.expect("parallel_attn", True)
    heads = config.integer("num_attention_heads")
    shared = config.integer("num_kv_heads", heads) if grouped else 1 if config.flag("multi_query", True) else heads
    wide = {"feed_forward_length": config.integer("ffn_hidden_size", 4 * config.integer("hidden_size"))}
    return {**common_metadata(config), **wide, "attention.head_count_kv": shared}


@family("falcon", falcon=HFMapping("falcon", metadata, transforms=(UngroupQKV(),)))
def falcon(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    ffn = MLP(p.integer("feed_forward_length", least=1), "gelu_erf")
    return Decoder((Layer(Attention(heads, Rope.read(p, heads.dim, "half")), ffn, FalconParallel(norm)),) * p.layers, norm)
