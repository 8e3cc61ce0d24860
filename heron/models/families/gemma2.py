"""Gemma 2 (Gemma Team 2024): every other layer has a sliding window, norms stand before and after each sublayer, and
scores and logits are capped by tanh. HF's norms multiply by 1 + w.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NormPlusOne
from heron.models.blocks.attention import Attention, Heads, Mask, Score
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Sandwich
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Head, Layer
from heron.models.families.gemma import RENAMES
from heron.models.families.gemma import metadata as any_gemma
from heron.models.params import Params
from heron.models.registry import family

#: The 27B model, known by its layers: files may not say that its scores are scaled by the width for each head.
LAYERS_27B = 46

#: Caps of files that do not say; 0 means none.
SCORE_CAP, LOGIT_CAP = 50.0, 30.0


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. A cap that is null is none."""
    caps = {key: config.number(key, 0.0) for key in ("attn_logit_softcapping", "final_logit_softcapping") if key in config}
    return {**any_gemma(config), **caps, "attention.scale": config.number("query_pre_attn_scalar", 256) ** -0.5}


HF = HFMapping("gemma2", metadata, renames=RENAMES, transforms=(NormPlusOne((r".*norm\.weight",)),))


@family("gemma2", gemma2=HF)
def gemma2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    width = p.hidden // heads.queries if p.layers == LAYERS_27B else heads.dim
    score = Score(p.number("attention.scale", width**-0.5), p.number("attn_logit_softcapping", SCORE_CAP))
    rope = Rope.read(p, heads.dim, "half")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1), "gelu")
    return Decoder(
        tuple(Layer(Attention(heads, rope, score=score, mask=mask), ffn, Sandwich(norm)) for mask in Mask.each(p, period=2)),
        norm,
        Head(softcap=p.number("final_logit_softcapping", LOGIT_CAP)),
        embedding_scale=p.hidden**0.5,
    )
