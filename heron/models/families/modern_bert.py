"""ModernBERT (Warner et al. 2024): norms before each sublayer, rope, gated feed-forward blocks; two layers of three see nearby tokens.

The first layer's attention takes the normed embeddings as they are. Its gelu is exact, as in HF; llama.cpp runs the tanh approximation.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import TANH_GELU, GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Layer
from heron.models.encoder import Encoder, pooling
from heron.models.params import Params
from heron.models.registry import family

#: Layers from one that sees all tokens to the next, in files that do not say.
PERIOD = 3

#: How configurations name activations -> how ops do.
KINDS = {"gelu": "gelu_erf", "silu": "silu", **dict.fromkeys(TANH_GELU, "gelu")}


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Bases of rope stand under names of their own in configurations of transformers 4."""
    types = config.strings("layer_types", None)
    period = config.integer("global_attn_every_n_layers", PERIOD, minimum=1)
    return {
        "rope.freq_base": config.number("global_rope_theta", 160000.0),
        "rope.freq_base_swa": config.number("local_rope_theta", 10000.0),
        **common_metadata(config),
        "attention.causal": False,
        "attention.sliding_window": config.integer("local_attention", 128),
        "attention.sliding_window_pattern": period if types is None else _pattern([kind == "sliding_attention" for kind in types]),
        "hidden_activation": config.text("hidden_activation", "gelu"),
    }


def _pattern(local: list[bool]) -> int | list[bool]:
    """The period, which is all that llama.cpp reads, where layers have one; its first layer sees all."""
    period = next((i for i, windowed in enumerate(local) if i and not windowed), len(local))
    return period if local == [i % period != 0 for i in range(len(local))] else local


@family("modern-bert", modernbert=HFMapping("modern-bert", metadata, prefix=r"model\.", ignore=(r"^head\.", r"^decoder\.")))
def modern_bert(p: Params) -> Encoder:
    heads = p.integer("attention.head_count", least=1)
    dim, norm = p.hidden // heads, Norm(p.number("attention.layer_norm_epsilon"), "layer")
    kind = p.text("hidden_activation", "gelu")
    if p.flag("attention.causal", False) or kind not in KINDS:
        raise UnsupportedError(f"{p.where}: a ModernBERT with attention.causal true, or hidden_activation {kind!r}, is not supported")
    everywhere = Rope.read(p, dim, "half")
    nearby = replace(everywhere, theta=p.number("rope.freq_base_swa", 10000.0))
    window = p.integer("attention.sliding_window", 0) // 2 + 1  # on each side, the token itself included
    local = p.pattern("attention.sliding_window_pattern", p.layers, PERIOD, first=True) if window > 1 else (False,) * p.layers

    def layer(i: int) -> Layer:
        mask = Mask(causal=False, window=window if local[i] else 0, cached=False)
        attention = Attention(Heads(heads, heads, dim), rope=nearby if local[i] else everywhere, mask=mask)
        ffn = GatedMLP(p.integer("feed_forward_length", least=1), KINDS[kind])
        return Layer(attention, ffn, PreNorm(norm, mixer_norm="attn_norm" if i else ""))

    return Encoder(tuple(map(layer, range(p.layers))), norm, final_norm=norm, pooling=pooling(p, "mean"))
