"""BERT and its kin on the reference backend against transformers: hidden states and pooled vectors of a ragged batch."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
import transformers as tf
from tiny_encoders import BERTS, MODERN
from tiny_models import make

from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.errors import HeronError, UnsupportedError
from heron.graph.graph import Model
from heron.models.builder import Weights
from heron.models.params import Params
from heron.models.registry import FAMILIES, build_model

LENGTHS = (17, 1, 30)
SENTENCES = [parity.prompt(61, length, seed) for seed, length in enumerate(LENGTHS)]


@pytest.fixture(scope="module", params=BERTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return make(request.param, tmp_path_factory.mktemp(request.param))


def expected(made: parity.Tiny) -> list[Any]:
    with torch.no_grad():
        return [made.hf(torch.tensor([s]), output_hidden_states=True) for s in SENTENCES]


def changed(checkpoint: Checkpoint, **keys: Any) -> Model:
    """The checkpoint's model with other hyperparameters."""
    name = checkpoint.architecture
    params = Params(dict(checkpoint.metadata) | {f"{name}.{key}": value for key, value in keys.items()}, name)
    built: Model = FAMILIES[name](params).model(params, Weights(checkpoint))
    return built


def encode(model: Model, want: tuple[str, ...] = ("hidden", "pooled")) -> dict[str, parity.Logits]:
    executable = parity.reference_backend(model, Options())
    executable.allocate({})
    starts = np.cumsum([0, *LENGTHS]).astype(np.int32)
    batch = Batch(np.concatenate(SENTENCES).astype(np.int32), starts, np.array(LENGTHS, np.int32), np.zeros(0, np.int32))
    return dict(executable.run("encode", batch, want).arrays)


@pytest.mark.covers("logits", "reference")
def test_a_ragged_batch_gives_transformers_hidden_states(made: parity.Tiny) -> None:
    got = encode(build_model(Checkpoint(made.folder)), ("hidden", "hidden:1"))
    theirs = expected(made)
    whole = np.concatenate([t.last_hidden_state[0].numpy() for t in theirs])
    assert parity.difference(got["hidden"], whole) <= parity.TOLERANCE
    first = np.concatenate([t.hidden_states[1][0].numpy() for t in theirs])
    assert parity.difference(got["hidden:1"], first) <= parity.TOLERANCE


@pytest.mark.parametrize(("kind", "pool"), [(1, lambda h: h.mean(0)), (2, lambda h: h[0]), (3, lambda h: h[-1])])
def test_pooling(made: parity.Tiny, kind: int, pool: Any) -> None:
    got = encode(changed(Checkpoint(made.folder), pooling_type=kind))["pooled"]
    theirs = np.stack([pool(t.last_hidden_state[0].numpy()) for t in expected(made)])
    assert parity.difference(got, theirs) <= parity.TOLERANCE


@pytest.mark.covers("GGUF", "reference")
def test_written_as_gguf_it_computes_the_same(made: parity.Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint(made.folder)
    write_gguf(tmp_path / "bert.gguf", checkpoint.metadata, checkpoint.tensors)
    again = encode(build_model(Checkpoint(tmp_path / "bert.gguf")))
    for name, array in encode(build_model(checkpoint)).items():
        assert (again[name] == array).all()


def test_attention_is_sharp_enough_to_see(made: parity.Tiny) -> None:
    assert made.sharpness(SENTENCES[2]) >= 1


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    name = checkpoint.architecture
    params = Params(checkpoint.metadata, name)
    FAMILIES[name](params).model(params, Weights(checkpoint))
    right = encode(build_model(checkpoint))
    limits = set() if "position_embd.weight" in checkpoint.tensors else {f"{name}.context_length"}  # rope has no last place
    for key in sorted(params.seen - limits):
        try:
            got = encode(changed(checkpoint, **{key.removeprefix(f"{name}."): parity.perturbed(checkpoint.metadata[key])}))
        except HeronError:
            continue
        assert max(parity.difference(got[n], right[n]) for n in right) > 10 * parity.TOLERANCE, key


def test_what_it_does_not_compute_is_refused(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    with pytest.raises(UnsupportedError, match="pooling_type 4"):
        changed(checkpoint, pooling_type=4)
    with pytest.raises(UnsupportedError, match=r"attention\.causal"):
        changed(checkpoint, **{"attention.causal": True})


def test_its_states_are_none(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    assert not model.states and not model.traits.causal


@pytest.mark.parametrize("name", ["bert", "roberta", "xlm-roberta", "distilbert", "nomic-bert", "modern-bert", "eurobert"])
def test_a_head_on_top_is_left_out(name: str, tmp_path: Path) -> None:
    """As published folders hold these models: trained to fill masks."""
    made = parity.tiny(BERTS[name]()[0], tmp_path, auto=tf.AutoModelForMaskedLM)
    with torch.no_grad():
        theirs = np.concatenate([made.hf.base_model(torch.tensor([s])).last_hidden_state[0].numpy() for s in SENTENCES])
    assert parity.difference(encode(build_model(Checkpoint(tmp_path)))["hidden"], theirs) <= parity.TOLERANCE


#: Nomic's own names of what transformers has under others, and ModernBERT's of transformers 4.
OLD: dict[str, dict[str, Any]] = {
    "nomic-bert": {
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_inner": 72,
        "n_positions": 8192,
        "max_trained_positions": 40,
        "layer_norm_epsilon": 1e-5,
        "activation_function": "swiglu",
        "rotary_emb_base": 1000,
        "rotary_emb_fraction": 1.0,
        "type_vocab_size": 2,
        "vocab_size": 61,
        "prenorm": False,
    },
    "modern-bert": {
        **{key: value for key, value in MODERN.items() if key != "rope_parameters"},
        "num_hidden_layers": 5,
        "global_attn_every_n_layers": 3,
        "global_rope_theta": 900.0,
        "local_rope_theta": 20.0,
        "norm_eps": 1e-5,
        "hidden_activation": "gelu",
    },
}


@pytest.mark.parametrize("name", OLD)
def test_older_configurations_mean_the_same(name: str, tmp_path: Path) -> None:
    made = make(name, tmp_path)
    expected = encode(build_model(Checkpoint(tmp_path)))["hidden"]
    (tmp_path / "config.json").write_text(json.dumps(OLD[name] | {"model_type": made.hf.config.model_type}))
    model = build_model(Checkpoint(tmp_path))
    assert model.context_length == 40 and (encode(model)["hidden"] == expected).all()


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("nomic-bert", {"prenorm": True}),
        ("nomic-bert", {"activation_function": "gelu"}),
        ("nomic-bert", {"moe_every_n_layers": 2}),
        ("nomic-bert", {"rotary_emb_fraction": 0.5}),
        ("modern-bert", {"hidden_activation": "relu"}),
        ("bert", {"hidden_act": "relu"}),
        ("bert", {"is_decoder": True}),
        ("roberta", {"pad_token_id": 0}),
        ("distilbert", {"activation": "relu"}),
        ("eurobert", {"hidden_act": "gelu"}),
    ],
)
def test_variants_that_are_not_computed_are_refused(name: str, config: dict[str, Any], tmp_path: Path) -> None:
    made = make(name, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(made.hf.config.to_dict() | config))
    with pytest.raises(UnsupportedError, match="supported"):
        build_model(Checkpoint(tmp_path))
