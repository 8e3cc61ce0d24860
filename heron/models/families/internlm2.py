"""InternLM 2 and 2.5 (Cai et al. 2024): Llama's shape. HF fuses q, k and v, grouped by key-value head; GGUF stores them apart, and
q and k rows permuted to adjacent rope pairs.
"""

from __future__ import annotations

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.transforms import SplitQKV, UnpermuteRope
from heron.models.blocks.attention import Attention, Heads
from heron.models.blocks.mlp import GatedMLP
from heron.models.blocks.norm import Norm
from heron.models.blocks.residual import PreNorm
from heron.models.blocks.rope import Rope
from heron.models.decoder import Decoder, Layer
from heron.models.params import Params
from heron.models.registry import family

RENAMES = ((r"model\.layers\.(\d+)\.attention\.wqkv\.(weight|bias)", r"blk.\1.attn_qkv.\2"),)
HF = HFMapping("internlm2", renames=RENAMES, transforms=(SplitQKV("groups"), UnpermuteRope()))


@family("internlm2", internlm2=HF)
def internlm2(p: Params) -> Decoder:
    heads, norm = Heads.read(p), Norm(p.rms_eps)
    attention = Attention(heads, rope=Rope.read(p, heads.dim, "adjacent"))
    ffn = GatedMLP(p.integer("feed_forward_length", least=1))
    return Decoder((Layer(attention, ffn, PreNorm(norm)),) * p.layers, norm)
