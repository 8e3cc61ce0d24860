"""GPT-2 (Radford et al. 2019): learned positions, layer norms, biases everywhere. HF stores its matrices transposed."""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import Transpose
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import MLP, TANH_GELU
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

CONV1D = r"blk\.\d+\.(attn_qkv|attn_output|ffn_up|ffn_down)\.weight"


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys. Without ``n_inner`` the MLP is four times as wide as the model."""
    config.expect("activation_function", *TANH_GELU)
    config.expect("scale_attn_weights", True)
    config.expect("scale_attn_by_inverse_layer_idx", False)
    return {"feed_forward_length": 4 * config.integer("n_embd"), **common_metadata(config)}


HF = HFMapping("gpt2", metadata, transforms=(Transpose((CONV1D,)),), ignore=(r"\.attn\.(bias|masked_bias)$",))


@family("gpt2", gpt2=HF)
def gpt2(p: Params) -> Decoder:
    norm = Norm(p.number("attention.layer_norm_epsilon"), "layer")
    layer = Layer(Attention(Heads.read(p)), MLP(p.integer("feed_forward_length", least=1), "gelu"), PreNorm(norm))
    return Decoder((layer,) * p.layers, norm, positions=p.context_length)
