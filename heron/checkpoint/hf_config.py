"""config.json to GGUF metadata: the keys that most families share.

A family's own mapping is `{**common_metadata(config), "its.key": ...}`. Sources: transformers' configurations, versions
4 (`rope_theta`, `rope_scaling`) and 5 (`rope_parameters`, possibly one for each type of layer), and GGUF's list of keys.
"""

from __future__ import annotations

from math import log, pi, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from heron.checkpoint.metadata import Metadata
from heron.errors import UnsupportedError

# GGUF key <- the names that configurations have for it, in the order in which they are tried.
INTEGERS = {
    "vocab_size": ("vocab_size",),
    "context_length": ("max_position_embeddings", "n_positions", "n_ctx", "max_sequence_length", "max_seq_len", "seq_length"),
    "embedding_length": ("hidden_size", "n_embd", "d_model"),
    "block_count": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "feed_forward_length": ("intermediate_size", "n_inner", "d_ff", "ffn_hidden_size"),
    "attention.head_count": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "attention.head_count_kv": ("num_key_value_heads",),
    "attention.key_length": ("head_dim", "d_kv"),
    "expert_count": ("num_local_experts", "num_experts", "n_routed_experts"),
    "expert_used_count": ("num_experts_per_tok",),
    "expert_feed_forward_length": ("moe_intermediate_size",),
    "expert_shared_count": ("n_shared_experts",),
    "expert_shared_feed_forward_length": ("shared_expert_intermediate_size", "shared_intermediate_size"),
    "expert_group_count": ("n_group",),
    "expert_group_used_count": ("topk_group",),
    "leading_dense_block_count": ("first_k_dense_replace",),
}
NUMBERS = {
    "attention.layer_norm_rms_epsilon": ("rms_norm_eps",),
    "attention.layer_norm_epsilon": ("layer_norm_eps", "layer_norm_epsilon", "norm_epsilon", "norm_eps"),
    "expert_weights_scale": ("routed_scaling_factor",),
    "attn_logit_softcapping": ("attn_logit_softcapping",),
    "final_logit_softcapping": ("final_logit_softcapping",),
    "attention.clamp_kqv": ("clip_qkv",),
}
FLAGS = {"expert_weights_norm": ("norm_topk_prob",)}

_NO_SCALING = ("default", "none", "dynamic")  # dynamic NTK acts beyond the trained context only
_LAYERS = 100_000


def text_config(config: Metadata) -> Metadata:
    """The configuration of a multimodal model's language part, with the whole's keys where it has none itself."""
    if not isinstance(config.get("text_config"), dict):
        return config
    return Metadata({**config, **config["text_config"]}, where=f"{config.where}, text_config")


def common_metadata(config: Metadata) -> dict[str, Any]:
    """The usual hyperparameters under GGUF keys, without the architecture before them.

    What the configuration lacks is left out, but for the heads' sizes, which follow from the others. Raises
    CheckpointError for values of the wrong type, UnsupportedError for a rope scaling that Heron does not know.
    """
    values: dict[str, Any] = {}
    for table, read in ((INTEGERS, config.integer), (NUMBERS, config.number), (FLAGS, config.flag)):
        for key, names in table.items():
            found = next((v for v in (read(name, None) for name in names) if v is not None), None)
            if found is not None:
                values[key] = found
    _heads(values)
    _windows(config, values)
    _dense_layers(config, values)
    _rope(config, values)
    return values


def _heads(values: dict[str, Any]) -> None:
    heads = values.get("attention.head_count")
    if not heads:
        return
    values.setdefault("attention.head_count_kv", heads)
    if "embedding_length" in values and values["embedding_length"] % heads == 0:
        values.setdefault("attention.key_length", values["embedding_length"] // heads)
    if "attention.key_length" in values:
        values["attention.value_length"] = values["attention.key_length"]


def _windows(config: Metadata, values: dict[str, Any]) -> None:
    """The sliding window, and which layers have it (True) where the configuration tells them apart."""
    window = config.integer("sliding_window", None)
    if window is None or not config.flag("use_sliding_window", True):
        return
    if (types := config.strings("layer_types", None)) is not None:
        local = [kind == "sliding_attention" for kind in types]
    elif pattern := config.get("sliding_window_pattern") or config.get("_sliding_window_pattern"):
        local = _pattern(config, pattern)
    else:  # in all layers alike
        values["attention.sliding_window"] = window
        return
    if any(local):
        values |= {"attention.sliding_window": window, "attention.sliding_window_pattern": local}


def _pattern(config: Metadata, pattern: Any) -> list[bool]:
    """A period (its last layer sees all), or the letters of one: L for a window, G for none."""
    layers = range(min(config.integer("num_hidden_layers"), _LAYERS))
    if isinstance(pattern, str):
        return [pattern[layer % len(pattern)] == "L" for layer in layers]
    key = "sliding_window_pattern" if config.get("sliding_window_pattern") else "_sliding_window_pattern"
    period = config.integer(key, minimum=1)
    return [(layer + 1) % period != 0 for layer in layers]


def _dense_layers(config: Metadata, values: dict[str, Any]) -> None:
    """Which layers have no experts, where the configuration tells them one by one."""
    step, listed = config.integer("decoder_sparse_step", 1, minimum=1), config.get("mlp_only_layers") or []
    dense = [layer in listed or (layer + 1) % step != 0 for layer in range(min(values.get("block_count", 0), _LAYERS))]
    if any(dense):
        values["dense_layers"] = dense


def rope_parameters(config: Metadata) -> tuple[Metadata, Metadata | None]:
    """Rope's parameters of global layers, and of local ones where they differ: rope_theta, rope_type, factor, ..."""
    inherited = {k: config[k] for k in ("rope_theta", "partial_rotary_factor", "original_max_position_embeddings") if k in config}
    if "rotary_pct" in config:
        inherited["partial_rotary_factor"] = config["rotary_pct"]
    if "rotary_emb_base" in config:
        inherited["rope_theta"] = config["rotary_emb_base"]
    where = f"{config.where}, rope parameters"
    given = config.table("rope_parameters", None) or config.table("rope_scaling", None) or Metadata()
    local: dict[str, Any] | None = None
    if isinstance(given.get("full_attention"), dict):
        local = given["sliding_attention"] if isinstance(given.get("sliding_attention"), dict) else None
        given = given.table("full_attention")
    elif "rope_local_base_freq" in config:
        local = {"rope_theta": config["rope_local_base_freq"]}
    whole = Metadata({**inherited, **{k: v for k, v in given.items() if v is not None}}, where=where)
    return whole, None if local is None else Metadata(local, where=where)


def _rope_type(rope: Metadata) -> str:
    return rope.text("rope_type", rope.text("type", "default"))


def _rope(config: Metadata, values: dict[str, Any]) -> None:
    rope, local = rope_parameters(config)
    if (theta := rope.number("rope_theta", None)) is not None:
        values["rope.freq_base"] = theta
    if local is not None and (theta := local.number("rope_theta", None)) is not None:
        values["rope.freq_base_swa"] = theta
    fraction = rope.number("partial_rotary_factor", 1.0)
    if "rope.freq_base" in values and "attention.key_length" in values:
        values["rope.dimension_count"] = int(values["attention.key_length"] * fraction)
    kind = _rope_type(rope)
    if kind in _SCALINGS:
        values |= {f"rope.scaling.{key}": value for key, value in _SCALINGS[kind](config, rope).items()}
    elif kind not in _NO_SCALING:
        raise UnsupportedError(f"{rope.where}: rope_type {kind!r} is not supported; known are {', '.join((*_SCALINGS, *_NO_SCALING))}")


def _linear(config: Metadata, rope: Metadata) -> dict[str, Any]:
    return {"type": "linear", "factor": rope.number("factor")}


def _yarn(config: Metadata, rope: Metadata) -> dict[str, Any]:
    """`yarn_attn_factor` is the whole factor on cosine and sine, written where it is not YaRN's 0.1 ln(factor) + 1.

    `attn_factor` says the same for llama.cpp, which multiplies YaRN's by it.
    """
    factor = rope.number("factor")
    scaling: dict[str, Any] = {
        "type": "yarn",
        "factor": factor,
        "original_context_length": rope.integer("original_max_position_embeddings", config.integer("max_position_embeddings", None)),
    }
    if (truncate := rope.flag("truncate", None)) is not None:
        scaling["yarn_truncate"] = truncate
    for key in ("beta_fast", "beta_slow"):
        if (value := rope.number(key, None)) is not None:
            scaling[f"yarn_{key}"] = value
    attention = rope.number("attention_factor", None)
    over_all = rope.number("mscale_all_dim", None)
    stretch = 0.1 * log(max(factor, 1.0))
    if over_all:
        scaling["yarn_log_multiplier"] = 0.1 * over_all
        if attention is None:
            mscale = rope.number("mscale", None)
            attention = (stretch * mscale + 1) / (stretch * over_all + 1) if mscale else stretch + 1
    elif attention is not None:
        scaling["attn_factor"] = attention / (stretch + 1)
    if attention is not None:
        scaling["yarn_attn_factor"] = attention
    return scaling


def _longrope(config: Metadata, rope: Metadata) -> dict[str, Any]:
    original = rope.integer("original_max_position_embeddings")
    stretch = rope.number("factor", config.integer("max_position_embeddings") / original if original else 1.0)
    attention = sqrt(1 + log(stretch) / log(original)) if stretch > 1 and original > 1 else 1.0
    return {"type": "longrope", "original_context_length": original, "attn_factor": rope.number("attention_factor", attention)}


def _none(config: Metadata, rope: Metadata) -> dict[str, Any]:
    return {}  # all in the divisors: see rope_tensors


_SCALINGS = {"linear": _linear, "yarn": _yarn, "longrope": _longrope, "su": _longrope, "llama3": _none}


def rope_tensors(config: Metadata) -> dict[str, NDArray[np.float32]]:
    """The tensors by which GGUF files divide rope's frequencies, where the configuration asks for any.

    rope_freqs.weight [dims/2] for Llama 3's scaling, rope_factors_long.weight and rope_factors_short.weight for longrope.
    """
    rope, _ = rope_parameters(config)
    kind = _rope_type(rope)
    if kind == "llama3":
        return {"rope_freqs.weight": _llama3_divisors(config, rope)}
    if kind in ("longrope", "su"):
        return {f"rope_factors_{which}.weight": rope.numbers(f"{which}_factor") for which in ("long", "short")}
    return {}


def _llama3_divisors(config: Metadata, rope: Metadata) -> NDArray[np.float32]:
    """Long waves are stretched by `factor`, short ones are not, and those between by a blend (Llama 3.1's published rule)."""
    dims = Metadata(common_metadata(config), where=config.where).integer("rope.dimension_count", minimum=2)
    frequencies = rope.number("rope_theta") ** (-np.arange(0, dims, 2, dtype=np.float64) / dims)
    turns = rope.integer("original_max_position_embeddings") * frequencies / (2 * pi)  # within the trained context
    low, high, factor = rope.number("low_freq_factor"), rope.number("high_freq_factor"), rope.number("factor")
    share = ((turns - low) / (high - low)).clip(0, 1)
    return (1 / ((1 - share) / factor + share)).astype(np.float32)
