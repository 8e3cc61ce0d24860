"""gpt-oss (OpenAI 2025): experts with biases and a gate held within bounds, sinks in every head, windows in every other layer.

YaRN's ramp does not begin and end at whole pairs here (llama.cpp's always does). HF's experts are stored in MXFP4, rows of gate
and up in turn, or [E, in, out].
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms_alternating import AlternatingExperts
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads, Mask, Score
from heron.models.blocks.moe import MoE, Router
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

ALPHA, LIMIT = 1.702, 7.0


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Raises UnsupportedError for another gate."""
    if (alpha := config.number("swiglu_alpha", ALPHA)) != ALPHA:
        raise UnsupportedError(f"{config.where}: swiglu_alpha {alpha} is not supported; only {ALPHA} is")
    limit = config.number("swiglu_limit", LIMIT)
    common = common_metadata(config)
    if common.get("rope.scaling.type") == "yarn":
        common.setdefault("rope.scaling.yarn_truncate", True)  # what configurations mean that do not say; GGUF files mean the opposite
    return {
        **common,
        "expert_feed_forward_length": config.integer("intermediate_size"),
        **({} if limit == LIMIT else {"swiglu_clamp_exp": [limit] * config.integer("num_hidden_layers")}),
    }


HF = HFMapping(
    "gpt-oss",
    metadata,
    renames=((r".*\blayers\.(\d+)\.self_attn\.sinks", r"blk.\1.attn_sinks.weight"),),
    transforms=(AlternatingExperts(),),
    quantized={"mxfp4": (r"_(blocks|scales)$",)},
)


@family("gpt-oss", gpt_oss=HF)
def gpt_oss(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    rope = Rope.read(p, heads.dim, "half", truncate=False)
    router = Router(p.integer("expert_count", least=1), p.integer("expert_used_count", least=1))
    width, limits = p.integer("expert_feed_forward_length", least=1), p.numbers("swiglu_clamp_exp", p.layers, LIMIT)
    residual = PreNorm(norm, ffn_norm="post_attention_norm")
    layers = tuple(
        Layer(Attention(heads, rope, score=Score(sinks=True), mask=mask), MoE(router, width, "quick_gelu", limit, offset=1.0), residual)
        for mask, limit in zip(Mask.each(p, period=2), limits, strict=True)
    )
    return Decoder(layers, norm)
