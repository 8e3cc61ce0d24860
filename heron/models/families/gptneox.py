"""GPT-NeoX (Black et al. 2022) and Pythia: attention and MLP beside each other, each after a norm of its own, or in turn.

The activation is the exact gelu, as in HF; llama.cpp runs its tanh approximation.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping, common_metadata
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms_fused import UngroupQKV
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import MLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import Parallel, PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    config.expect("hidden_act", "gelu")
    return {**common_metadata(config), "use_parallel_residual": config.flag("use_parallel_residual", True)}


HF = HFMapping("gptneox", metadata, transforms=(UngroupQKV(),), ignore=(r"attention\.(bias|masked_bias|rotary_emb)",))


@family("gptneox", gpt_neox=HF)
def gptneox(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.number("attention.layer_norm_epsilon"), "layer")
    ffn = MLP(p.integer("feed_forward_length", least=1), "gelu_erf")
    residual = Parallel(norm, ffn_norm="ffn_norm") if p.flag("use_parallel_residual", True) else PreNorm(norm)
    return Decoder((Layer(Attention(heads, Rope.read(p, heads.dim, "half")), ffn, residual),) * p.layers, norm)
