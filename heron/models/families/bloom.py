"""BLOOM (Le Scao et al. 2022): scores that fall with distance (ALiBi), a layer norm on the embeddings."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms_fused import UngroupQKV
from heron.models.blocks.attention import Attention, Heads, Score
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

#: The exponent of the steepest slope; GGUF has no key for it here.
ALIBI = 8.0


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Folders may not say what context they were trained with: it was 2048."""
    config.expect("apply_residual_connection_post_layernorm", False)
    hidden = config.integer("hidden_size", config.integer("n_embed", None))
    return {"context_length": 2048, "feed_forward_length": 4 * hidden, **common_metadata(config), "embedding_length": hidden}


RENAMES = (
    (r"(?:transformer\.)?h\.(\d+)\.post_attention_layernorm\.(weight|bias)", r"blk.\1.ffn_norm.\2"),
    (r"(?:transformer\.)?word_embeddings_layernorm\.(weight|bias)", r"token_embd_norm.\1"),
)
HF = HFMapping("bloom", metadata, renames=RENAMES, transforms=(UngroupQKV(),))


@family("bloom", bloom=HF)
def bloom(p: Params) -> Decoder:
    norm = Norm(p.number("attention.layer_norm_epsilon"), "layer")
    attention = Attention(Heads.read(p), score=Score(alibi=ALIBI))
    layer = Layer(attention, MLP(p.integer("feed_forward_length", least=1), "gelu"), PreNorm(norm))
    return Decoder((layer,) * p.layers, norm, embedding_norm=norm)
