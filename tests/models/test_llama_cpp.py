"""llama.cpp opens the GGUF files that Heron writes of every family, and computes what Heron does.

The bindings are the optional extra ``peers``. Where llama.cpp and a model's definition (transformers) differ, Heron
follows the definition; the tables below name each such difference, and the tests here go around it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import llama_cpp_peer as peer
import numpy as np
import parity
import pytest
import transformers as tf
from test_encoders import SENTENCES, encode
from test_t5 import SOURCES, TARGETS, VARIANTS, WithSources
from tiny_encoders import BERTS
from tiny_experts import STRETCHED
from tiny_gguf import write_tiny
from tiny_models import EVERY, T5, YARN

from heron.backends.reference import core
from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import build_model

pytestmark = pytest.mark.slow

#: Relative to the spread of logits. With a gelu the roundings of its table may fall to either side of ours.
EXACT, WITH_GELU = 1e-4, 1e-3

UNBIASED = {"attention_bias": False}
PLAIN = {"rope_type": "default", "rope_theta": 500.0}
FULL = "full_attention"
TRUNCATED = STRETCHED | {"truncate": True}  # as its ramps always are

#: What llama.cpp computes in one way only, or cannot hold: changes of the configuration with which it can be compared.
ADAPTED: dict[str, dict[str, Any]] = {
    "mistral": {"sliding_window": None},  # its llama has no window
    "qwen3-tied": UNBIASED,
    "qwen3moe-plain": {"norm_topk_prob": True},  # its qwen3moe makes the chosen experts' weights sum to 1, always
    "qwen3next": {"linear_key_head_dim": 10, "linear_value_head_dim": 10},  # its delta net has heads of one size
    "deepseek2-v2": {"topk_method": "greedy"},  # it judges V2's groups as V3 does, by two experts
    "gemma3": {"query_pre_attn_scalar": 20},  # scores are scaled by the head's size, but for the 27B
    "gemma2": {"query_pre_attn_scalar": 20},
    "gemma2-uncapped": {**UNBIASED, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0},  # always capped
    "gemma-untied": {**UNBIASED, "tie_word_embeddings": True},
    "olmo2-biased": {**UNBIASED, "tie_word_embeddings": False, "rope_parameters": PLAIN},
    "olmo3": {"rope_parameters": {"sliding_attention": {"rope_type": "default", "rope_theta": 100.0}, FULL: YARN}},  # one theta
    "smollm3-pattern": {**UNBIASED, "mlp_bias": False, "no_rope_layers": [1, 1], "rope_parameters": PLAIN},
    "smollm3-windows": {"use_sliding_window": False, "layer_types": [FULL] * 5},
    "ernie4_5-biased": {"use_bias": False},
    "exaone4": {"num_hidden_layers": 64, "layer_types": (["sliding_attention"] * 3 + [FULL]) * 16},  # 64 layers: known by them
    "phi3": {"sliding_window": None},
    "phi3-short": {"max_position_embeddings": 256, "original_max_position_embeddings": 256},  # the least context it makes
    "olmoe": {"num_key_value_heads": 4},  # key heads are not shared
    "olmoe-clipped": {**UNBIASED, "tie_word_embeddings": False, "num_key_value_heads": 4, "norm_topk_prob": False, "clip_qkv": None},
    "starcoder2": {"sliding_window": None},
    "starcoder2-plain": {"use_bias": True},
    "gptneox-in-turn": {"attention_bias": True, "tie_word_embeddings": False},
    "stablelm-12b": {"tie_word_embeddings": False},
    "nemotron": {"head_dim": 12},  # a head is a part of the model's width
    "nemotron-biased": {"tie_word_embeddings": False},
    "command-r-plus": {**UNBIASED, "num_hidden_layers": 64},  # 64 layers: known by them
    "cohere2": {"head_dim": 12},
    "cohere2-biased": UNBIASED,
    "falcon-heads": {"bias": False},
    "mamba-biased": {"use_bias": False, "use_conv_bias": True},
    "mamba2-biased": {"use_bias": False, "use_conv_bias": True},
    "mamba2-limited": {"time_step_limit": (0.0, math.inf)},
    "falcon-mamba": {"mixer_rms_eps": 1e-4},  # the layers' epsilon
    "qwen2moe-normed": {"norm_topk_prob": False, "tie_word_embeddings": False},
    "qwen2moe-dense": {"decoder_sparse_step": 1, "mlp_only_layers": []},  # experts in all layers
    "qwen3moe-dense": {"mlp_only_layers": [], "norm_topk_prob": True},
    "gpt-oss": {"swiglu_limit": 7.0, "rope_parameters": TRUNCATED},
    # Windows in the even layers, biases in all.
    "gpt-oss-whole": {"attention_bias": True, "layer_types": ["sliding_attention", FULL], "tie_word_embeddings": False},
    "eurobert-biased": {**UNBIASED, "mlp_bias": False, "head_dim": 8},  # heads are parts of the model's width
    # No biases, and layers of a period.
    "modern-bert-biased": {**UNBIASED, "norm_bias": False, "mlp_bias": False, "layer_types": [FULL, *["sliding_attention"] * 2]},
}
#: T5's positions reach 128, whatever the file says.
T5_REACH = 128


@pytest.fixture(autouse=True)
def _table_of_gelu(monkeypatch: pytest.MonkeyPatch) -> None:
    """llama.cpp reads gelu from a table in half precision, and takes the tanh approximation for both."""

    def looked_up(x: core.Array) -> core.Array:
        return core.gelu_tanh(x.astype(np.float16).astype(np.float32)).astype(np.float16).astype(np.float32)

    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    monkeypatch.setitem(core.ACTIVATION, "gelu", looked_up)
    monkeypatch.setitem(core.ACTIVATION, "gelu_erf", looked_up)


def adapted(config: Any, **changes: Any) -> Any:
    for name, value in changes.items():
        assert hasattr(config, name), name
        setattr(config, name, value)
    return config


def bound(path: Path) -> float:
    nodes = [node for graph in build_model(Checkpoint(path)).entries.values() for node in graph.nodes]
    return WITH_GELU if any(str(node.attrs.get("kind")).startswith("gelu") for node in nodes) else EXACT


def yarn(path: Path) -> dict[str, float]:
    """YaRN's ramp, which llama.cpp reads from the files of few architectures and takes as an option for all."""
    metadata = Checkpoint(path).metadata
    return {k.rpartition(".")[2]: v for k, v in metadata.items() if k.endswith(("yarn_beta_fast", "yarn_beta_slow"))}


@pytest.fixture
def made(request: pytest.FixtureRequest, tmp_path: Path) -> parity.Tiny:
    """What a test asks for: a configuration, the class that makes a model of it, and how queries and keys are scaled."""
    config, auto, sharp = request.param()
    return parity.tiny(config, tmp_path, auto=auto, sharp=sharp)


def of_each(models: Mapping[str, Callable[[], tuple[Any, Any, float]]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("made", models.values(), ids=models.keys(), indirect=True)


def decoder(name: str) -> tuple[Any, Any, float]:
    return adapted(EVERY[name](), **ADAPTED.get(name, {})), tf.AutoModelForCausalLM, 2.5


def encoder(name: str) -> tuple[Any, Any, float]:
    config, auto, sharp = BERTS[name]()
    return adapted(config, **ADAPTED.get(name, {})), auto, sharp


def t5(variant: str) -> tuple[Any, Any, float]:
    reach = {"relative_attention_max_distance": T5_REACH}
    return tf.T5Config(**T5 | VARIANTS[variant] | reach), tf.AutoModelForSeq2SeqLM, 1.0


@pytest.mark.covers("logits", "llama.cpp")
@of_each({name: partial(decoder, name) for name in EVERY})
def test_decoders(made: parity.Tiny) -> None:
    path = write_tiny(made.folder)
    model = build_model(Checkpoint(path))
    tokens = parity.prompt(model.vocab_size, 40)
    theirs = peer.logits(path, tokens, **yarn(path))
    assert parity.difference(parity.whole(parity.Runner(model), tokens), theirs) <= bound(path)


@pytest.mark.covers("logits", "llama.cpp")
@of_each({name: partial(encoder, name) for name in BERTS})
def test_encoders(made: parity.Tiny) -> None:
    path = write_tiny(made.folder)
    ours = encode(build_model(Checkpoint(path)))["hidden"]
    theirs = np.concatenate([peer.hidden(path, sentence) for sentence in SENTENCES])
    assert parity.difference(ours, theirs) <= bound(path)


@pytest.mark.covers("logits", "llama.cpp")
@of_each({variant: partial(t5, variant) for variant in VARIANTS})
def test_t5(made: parity.Tiny) -> None:
    """llama.cpp leaves out the scale of tied logits, which moves no token before another."""
    path = write_tiny(made.folder)
    checkpoint = Checkpoint(path)
    ours = parity.whole(WithSources(build_model(checkpoint)), TARGETS[0]) / checkpoint.metadata["t5.logit_scale"]
    theirs = peer.translated(path, SOURCES[0], TARGETS[0])
    assert parity.difference(ours, theirs) <= bound(path)
