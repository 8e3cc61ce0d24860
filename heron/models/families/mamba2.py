"""Mamba-2 (Dao and Gu 2024), Codestral Mamba (Mistral AI 2024).

Published models leave the step free; GGUF has no keys for limits, so ``ssm.dt_min`` and ``ssm.dt_max`` are Heron's own.
transformers keeps steps within the limits when it reads a prompt, and forgets them token by token; Heron keeps them.
"""

from __future__ import annotations

import math
from typing import Any

from heron.checkpoint.hf import HFMapping
from heron.checkpoint.metadata import Metadata
from heron.checkpoint.transforms import NegExp, Squeeze
from heron.checkpoint.transforms_delta import InRows
from heron.errors import CheckpointError
from heron.models.blocks.mamba2 import Mamba2
from heron.models.blocks.norm import Norm
from heron.models.decoder import Decoder, Single
from heron.models.families.mamba import ssm_metadata
from heron.models.params import Params
from heron.models.registry import family


def metadata(config: Metadata) -> dict[str, Any]:
    """config.json -> GGUF keys."""
    return {
        **ssm_metadata(config),
        "ssm.time_step_rank": config.integer("num_heads"),
        "ssm.group_count": config.integer("n_groups", 8),
        **_limits(config),
    }


def _limits(config: Metadata) -> dict[str, float]:
    limits = config.numbers("time_step_limit", (0.0, math.inf))
    if len(limits) != 2:
        raise CheckpointError(f"{config.where}: time_step_limit must be the least and the greatest step, but has {len(limits)} numbers")
    low, high = map(float, limits)
    return ({"ssm.dt_min": low} if low > 0 else {}) | ({"ssm.dt_max": high} if high < math.inf else {})


HF = HFMapping(
    "mamba2",
    metadata,
    renames=((r".*\blayers\.(\d+)\.mixer\.dt_bias", r"blk.\1.ssm_dt.bias"),),
    transforms=(
        NegExp((r"blk\.\d+\.ssm_a",)),
        Squeeze((r"blk\.\d+\.ssm_conv1d\.weight",)),
        InRows((r"blk\.\d+\.ssm_[ad]",), "ssm.time_step_rank"),
        InRows((r"blk\.\d+\.ssm_norm\.weight",), "ssm.group_count"),
    ),
)


@family("mamba2", mamba2=HF)
def mamba2(p: Params) -> Decoder:
    norm = Norm(p.rms_eps)
    inner, heads, groups = (p.integer(f"ssm.{key}", least=1) for key in ("inner_size", "time_step_rank", "group_count"))
    if inner % heads or heads % groups:
        raise CheckpointError(f"{p.where}: {inner} channels, {heads} heads and {groups} groups of a Mamba-2 do not divide each other")
    low = p.number("ssm.dt_min") if p.has("ssm.dt_min") else 0.0
    high = p.number("ssm.dt_max") if p.has("ssm.dt_max") else math.inf
    mixer = Mamba2(
        heads,
        inner // heads,
        groups,
        p.integer("ssm.state_size", least=1),
        p.integer("ssm.conv_kernel", least=1),
        norm.eps,
        (low, high) if low > 0 or high < math.inf else None,
    )
    return Decoder((Single(mixer, norm),) * p.layers, norm)
