"""config.json to GGUF metadata, held to what transformers makes of the same configurations."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import transformers

from heron.checkpoint.hf_config import common_metadata, rope_tensors
from heron.checkpoint.metadata import Metadata

SIZES: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}


def metadata_of(config: dict[str, Any]) -> dict[str, Any]:
    return common_metadata(Metadata(config, where="config.json"))


@pytest.mark.parametrize(
    ("rope", "expected"),
    [
        ({"rope_theta": 5e4}, {"freq_base": 5e4}),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e4}}, {"freq_base": 5e4}),
        (
            {"rope_theta": 1e4, "rope_scaling": {"type": "linear", "factor": 2}},
            {"freq_base": 1e4, "scaling.type": "linear", "scaling.factor": 2},
        ),
        ({"rope_theta": 1e4, "rope_scaling": {"type": "dynamic", "factor": 2}}, {"freq_base": 1e4}),
        (
            {
                "rope_parameters": {
                    "rope_type": "yarn",
                    "rope_theta": 1e4,
                    "factor": 4.0,
                    "original_max_position_embeddings": 32,
                    "beta_fast": 16.0,
                    "attention_factor": 3.0,
                }
            },
            {
                "freq_base": 1e4,
                "scaling.type": "yarn",
                "scaling.factor": 4,
                "scaling.original_context_length": 32,
                "scaling.yarn_beta_fast": 16,
                "scaling.yarn_attn_factor": 3,
                "scaling.attn_factor": pytest.approx(3 / (1 + 0.1 * math.log(4))),
            },
        ),
        (
            {
                "rope_parameters": {
                    "full_attention": {"rope_theta": 1e6, "rope_type": "linear", "factor": 8.0},
                    "sliding_attention": {"rope_theta": 1e4},
                }
            },
            {"freq_base": 1e6, "freq_base_swa": 1e4, "scaling.type": "linear", "scaling.factor": 8},
        ),
        ({"rope_theta": 1e6, "rope_local_base_freq": 1e4}, {"freq_base": 1e6, "freq_base_swa": 1e4}),
        ({"rope_theta": 1e4, "partial_rotary_factor": 0.5}, {"freq_base": 1e4, "dimension_count": 4}),
    ],
)
def test_rope(rope: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {k.removeprefix("rope."): v for k, v in metadata_of(SIZES | rope).items() if k.startswith("rope.")}
    assert found == {"dimension_count": 8} | expected


def test_longrope_is_transformers_own() -> None:
    factors = {"long_factor": [2.0, 3.0, 4.0, 5.0], "short_factor": [1.0, 1.0, 1.5, 2.0]}
    rope = {"rope_type": "longrope", "rope_theta": 1e4} | factors
    config = transformers.Phi3Config(**SIZES, rope_parameters=rope, original_max_position_embeddings=32, pad_token_id=0)
    model = transformers.models.phi3.modeling_phi3.Phi3RotaryEmbedding(config)
    metadata = metadata_of(config.to_dict())
    assert metadata["rope.scaling.type"] == "longrope"
    assert metadata["rope.scaling.original_context_length"] == 32
    assert metadata["rope.scaling.attn_factor"] == pytest.approx(model.attention_scaling)
    tensors = rope_tensors(Metadata(config.to_dict()))
    np.testing.assert_array_equal(tensors["rope_factors_long.weight"], factors["long_factor"])
    np.testing.assert_array_equal(tensors["rope_factors_short.weight"], factors["short_factor"])


@pytest.mark.parametrize(
    ("config", "window", "pattern"),
    [
        ({"sliding_window": None}, None, None),
        ({"sliding_window": 16}, 16, None),
        ({"sliding_window": 16, "use_sliding_window": False}, None, None),
        ({"sliding_window": 16, "layer_types": ["full_attention"] * 2}, None, None),
        ({"sliding_window": 16, "layer_types": ["sliding_attention", "full_attention"]}, 16, [True, False]),
        ({"sliding_window": 16, "sliding_window_pattern": 2}, 16, [True, False]),
    ],
)
def test_windows(config: dict[str, Any], window: int | None, pattern: list[bool] | None) -> None:
    metadata = metadata_of(SIZES | config)
    assert metadata.get("attention.sliding_window") == window
    assert metadata.get("attention.sliding_window_pattern") == pattern


def test_llama3_divisors_are_transformers_own() -> None:
    config = transformers.LlamaConfig(**SIZES | {"head_dim": 64}, rope_parameters=LLAMA3 | {"original_max_position_embeddings": 64})
    model = transformers.models.llama.modeling_llama.LlamaRotaryEmbedding(config)
    plain = 5e5 ** (-np.arange(0, 64, 2) / 64)
    ours = rope_tensors(Metadata(config.to_dict()))["rope_freqs.weight"]
    np.testing.assert_allclose(plain / ours, model.inv_freq.numpy(), rtol=1e-6)
    assert ours.min() == 1
    assert ours.max() == 8
