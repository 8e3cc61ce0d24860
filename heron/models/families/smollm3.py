"""SmolLM 3 (Hugging Face 2025): Llama's shape, and every fourth layer has no rope.

GGUF stores q and k rows permuted to adjacent rope pairs. ``rope.pattern`` is Heron's own key, for folders that leave rope out
elsewhere: one truth a layer, False where nothing turns.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import UnpermuteRope
from heron.models.blocks.attention import Attention, Heads, Mask
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

PERIOD = 4


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    layers, period = range(config.integer("num_hidden_layers")), config.integer("no_rope_layer_interval", PERIOD, minimum=1)
    usual = [(i + 1) % PERIOD != 0 for i in layers]
    stated = config.integers("no_rope_layers", None)  # 1 for a layer that has rope, whatever the name says
    turns = [(i + 1) % period != 0 for i in layers] if stated is None else stated[: len(layers)].astype(bool).tolist()
    return {**common_metadata(config), **({} if turns == usual else {"rope.pattern": turns})}


@family("smollm3", smollm3=HFMapping("smollm3", metadata, transforms=(UnpermuteRope(),)))
def smollm3(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    rope = Rope.read(p, heads.dim, "adjacent")
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    turns = p.pattern("rope.pattern", p.layers, PERIOD)
    mixers = (Attention(heads, rope if turn else None, mask=mask) for turn, mask in zip(turns, Mask.each(p), strict=True))
    return Decoder(tuple(Layer(mixer, ffn, PreNorm(norm)) for mixer in mixers), norm)
