"""GLM 4, the 0414 models (Zhipu AI 2025): norms before and after each sublayer, biases on q, k and v, gate and up in one matrix.

Rope turns a half of each head, in adjacent pairs in HF's layout too.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Sandwich
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    return common_metadata(Metadata({"partial_rotary_factor": 0.5, **config}, where=config.where))


@family("glm4", glm4=HFMapping("glm4", metadata))
def glm4(p: Params) -> Decoder:
    if p.has("rope.dimension_sections"):
        raise UnsupportedError(f"{p.where}: the text model of GLM 4 with vision, whose rope has sections, is not supported")
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "adjacent"))
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    return Decoder((Layer(attention, ffn, Sandwich(norm)),) * p.layers, norm)
