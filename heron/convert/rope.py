"""Rope's parameters in a configuration, from GGUF's keys and the tensors that hold divisors of its frequencies."""

from __future__ import annotations

from math import log, nextafter, pi
from typing import Any

import numpy as np

from heron.checkpoint.metadata import Metadata
from heron.convert.families import Family, Tensors
from heron.errors import UnsupportedError

_THETA = 10000.0  # of files that do not say
_HIGH, _CONTEXT = 4.0, 8192  # of Llama 3.1 to 3.3, and of what took their scaling


def rope_parameters(values: Metadata, tensors: Tensors, family: Family) -> dict[str, Any]:
    """The entry ``rope_parameters`` (and what stands beside it). ``values`` are the file's keys without the architecture.

    Raises UnsupportedError for scalings that configurations cannot express.
    """
    theta = _short(values.number("rope.freq_base", _THETA))
    whole: dict[str, Any] = {"rope_theta": theta, "rope_type": "default"}
    heads = values.integer("attention.head_count", minimum=1)
    head = values.integer("attention.key_length", values.integer("embedding_length") // heads)
    dims = values.integer("rope.dimension_count", head)
    if (dims != head or family.partial) and not family.latent:
        share = dims / head
        whole["partial_rotary_factor"] = share if int(head * share) == dims else nextafter(share, 2)
    whole |= _scaling(values, tensors, dims, theta)
    beside = {}
    if whole["rope_type"] == "longrope":
        beside["original_max_position_embeddings"] = whole["original_max_position_embeddings"]
    if family.local_rope or "rope.freq_base_swa" in values:
        local = {"rope_theta": _short(values.number("rope.freq_base_swa", _THETA)), "rope_type": "default"}
        return {"rope_parameters": {"full_attention": whole, "sliding_attention": local}}
    return {"rope_parameters": whole, **beside}


def _short(number: float) -> float:
    """A number as it was written before it became float32."""
    return float(str(np.float32(number)))


def _scaling(values: Metadata, tensors: Tensors, dims: int, theta: float) -> dict[str, Any]:
    kind = values.text("rope.scaling.type", "none")
    if "rope_freqs.weight" in tensors:
        return _llama3(tensors["rope_freqs.weight"].numpy(), dims, theta, values)
    if "rope_factors_long.weight" in tensors:
        factors = {
            f"{which}_factor": [_short(float(v)) for v in tensors[f"rope_factors_{which}.weight"].numpy()] for which in ("long", "short")
        }
        said = {"rope_type": "longrope", "original_max_position_embeddings": values.integer("rope.scaling.original_context_length")}
        attention = values.number("rope.scaling.attn_factor", None)
        return {**said, **factors, **({} if attention is None else {"attention_factor": attention})}
    if kind == "none":
        return {}
    factor = _short(values.number("rope.scaling.factor"))
    if kind == "linear":
        return {"rope_type": "linear", "factor": factor}
    if kind != "yarn":
        raise UnsupportedError(f"{values.where}: rope scaling {kind!r} cannot be written to a configuration; keep the GGUF file")
    said = {"rope_type": "yarn", "factor": factor, "truncate": values.flag("rope.scaling.yarn_truncate", True)}
    said["original_max_position_embeddings"] = values.integer("rope.scaling.original_context_length")
    for key in ("beta_fast", "beta_slow"):
        if (number := values.number(f"rope.scaling.yarn_{key}", None)) is not None:
            said[key] = _short(number)
    attention = values.number("rope.scaling.yarn_attn_factor", None)
    stretch = 0.1 * log(max(factor, 1.0))
    if over_all := _short(10 * values.number("rope.scaling.yarn_log_multiplier", 0.0)):
        whole = 1.0 if attention is None else attention  # (stretch * mscale + 1) / (stretch * mscale_all_dim + 1)
        mscale = over_all if attention is None or not stretch else _short((whole * (stretch * over_all + 1) - 1) / stretch)
        return {**said, "mscale": mscale, "mscale_all_dim": over_all}
    if attention is None and (multiple := values.number("rope.scaling.attn_factor", None)) is not None:
        attention = multiple * (stretch + 1)
    return said if attention is None else {**said, "attention_factor": _short(attention)}


def _llama3(divisors: Any, dims: int, theta: float, values: Metadata) -> dict[str, Any]:
    """The parameters by which Llama 3 stretches long waves. Its low factor is 1: only its ratios to the others show in divisors.

    Between the bounds 1 / divisor is linear in the turns that a wave makes in a token: two such pairs give bounds and context, one does
    with the published bound. Raises UnsupportedError where none of these make the divisors again.
    """
    waves = theta ** (-np.arange(0, dims, 2, dtype=np.float64) / dims) / (2 * pi)
    factor = float(np.round(divisors.max(), 4))
    share = (1 / divisors.astype(np.float64) - 1 / factor) / (1 - 1 / factor) if factor > 1 else np.ones(len(divisors))
    between = (share > 1e-4) & (share < 1 - 1e-4)
    found = [((s * (_HIGH - 1) + 1) / wave, _HIGH) for s, wave in zip(share[between], waves[between], strict=True)]
    if len(found) > 1:
        slope, offset = np.polyfit(waves[between], share[between], 1)
        found.append((-slope / offset, 1 - 1 / offset))
    for context, high in (*found, (_CONTEXT, _HIGH)):
        context, high = round(float(context)), float(np.round(high, 3))
        kept = ((context * waves - 1) / (high - 1)).clip(0, 1)
        if np.allclose(1 / ((1 - kept) / factor + kept), divisors, rtol=1e-3):
            bounds = {"low_freq_factor": 1.0, "high_freq_factor": high}
            return {"rope_type": "llama3", "factor": factor, **bounds, "original_max_position_embeddings": context}
    raise UnsupportedError(f"{values.where}: the divisors in rope_freqs.weight are not those of Llama 3's scaling; keep the GGUF file")
