"""Mamba (Gu and Dao 2023), and Falcon Mamba (TII 2024), which norms each token's step, B and C, without weights.

GGUF gives those norms the layers' epsilon; where HF's differs, ``ssm.dt_b_c_rms_epsilon`` says so.
"""

from __future__ import annotations

from typing import Any

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NegExp, Squeeze
from heron.errors import UnsupportedError
from heron.models.blocks.mamba import Mamba
from heron.models.blocks.norm import Norm
from heron.models.decoder import Decoder, Single
from heron.models.params import Params
from heron.models.registry import family


def ssm_metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> the GGUF keys that all state space models have; nothing bounds their context."""
    if (kind := config.text("hidden_act", "silu")) not in ("silu", "swish"):
        raise UnsupportedError(f"{config.where}: hidden_act {kind!r} is not supported in a state space model; only silu is")
    hidden = config.integer("hidden_size")
    return {
        "vocab_size": config.integer("vocab_size"),
        "context_length": 2**20,
        "embedding_length": hidden,
        "feed_forward_length": 0,
        "block_count": config.integer("num_hidden_layers"),
        "attention.head_count": 0,
        "attention.layer_norm_rms_epsilon": config.number("layer_norm_epsilon", 1e-5),
        "ssm.conv_kernel": config.integer("conv_kernel", 4),
        "ssm.inner_size": config.integer("intermediate_size", int(config.number("expand", 2.0) * hidden)),
        "ssm.state_size": config.integer("state_size"),
    }


def metadata(config: Metadata) -> dict[str, Any]:
    common = ssm_metadata(config)
    rank = config.get("time_step_rank", "auto")
    rank = -(-common["embedding_length"] // 16) if rank == "auto" else config.integer("time_step_rank")
    return {**common, "ssm.time_step_rank": rank, "ssm.dt_b_c_rms": False}


def falcon_metadata(config: Metadata) -> dict[str, Any]:
    common, eps = metadata(config), config.number("mixer_rms_eps", 1e-6)
    own = {"ssm.dt_b_c_rms_epsilon": eps} if eps != common["attention.layer_norm_rms_epsilon"] else {}
    return {**common, "ssm.dt_b_c_rms": True, **own}


TRANSFORMS = (NegExp((r"blk\.\d+\.ssm_a",)), Squeeze((r"blk\.\d+\.ssm_conv1d\.weight",)))


@family(
    "mamba",
    mamba=HFMapping("mamba", metadata, transforms=TRANSFORMS),
    falcon_mamba=HFMapping("mamba", falcon_metadata, transforms=TRANSFORMS),
)
def mamba(p: Params) -> Decoder:
    norm = Norm(p.rms_eps)
    normed = p.flag("ssm.dt_b_c_rms", False)
    mixer = Mamba(
        p.integer("ssm.inner_size", least=1),
        p.integer("ssm.state_size", least=1),
        p.integer("ssm.time_step_rank", least=1),
        p.integer("ssm.conv_kernel", least=1),
        Norm(p.number("ssm.dt_b_c_rms_epsilon", norm.eps), gain=False) if normed else None,
    )
    return Decoder((Single(mixer, norm),) * p.layers, norm)
