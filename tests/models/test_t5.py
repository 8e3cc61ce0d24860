"""T5 against transformers: two entries, cross states, relative bias."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
import transformers as tf
from ranks import in_ranks
from tiny_gguf import write_tiny
from tiny_models import T5

import heron
from heron.backends import native
from heron.backends import torch as on_torch
from heron.backends.base import Options
from heron.backends.batch import Batch
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.errors import CheckpointError, HeronError, RequestError, UnsupportedError
from heron.graph.graph import Model
from heron.graph.passes.shard import shard
from heron.models.builder import Weights
from heron.models.params import Params
from heron.models.registry import FAMILIES, build_model

VARIANTS: dict[str, dict[str, Any]] = {
    "t5": {"feed_forward_proj": "relu"},
    "t5 1.1": {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    "scaled": {"feed_forward_proj": "gated-gelu", "scale_decoder_outputs": True},
    "not scaled": {"feed_forward_proj": "relu", "scale_decoder_outputs": False},
}
SOURCES = [parity.prompt(61, 33, 1), parity.prompt(61, 5, 2), parity.prompt(61, 19, 3)]
WAYS = (parity.whole, parity.chunks, parity.one_by_one)
TARGETS = [[0, *parity.prompt(61, length, length)] for length in (34, 27, 13)]


@pytest.fixture(scope="module", params=VARIANTS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    """Scores are not scaled by the head's size here: queries and keys of unit size are sharp enough (about 3)."""
    config = tf.T5Config(**T5, **VARIANTS[request.param])
    return parity.tiny(config, tmp_path_factory.mktemp("t5"), auto=tf.AutoModelForSeq2SeqLM, sharp=1.0)


def expected(made: parity.Tiny, s: int) -> parity.Logits:
    with torch.no_grad():
        out = made.hf(input_ids=torch.tensor([SOURCES[s]]), decoder_input_ids=torch.tensor([TARGETS[s]]), use_cache=False)
        logits: parity.Logits = out.logits[0].numpy()
        return logits


class WithSources(parity.Runner):
    """A Runner whose three sequences have their sources encoded first, in one ragged step."""

    def __init__(self, model: Model, prepare: parity.Prepare = parity.reference_backend) -> None:
        super().__init__(model, prepare)
        lengths = np.array([len(s) for s in SOURCES], np.int32)
        starts = np.cumsum([0, *lengths]).astype(np.int32)
        cross = {"cross": self.tables["cross"]}
        tokens = np.concatenate(SOURCES).astype(np.int32)
        self.executable.run("encode", Batch(tokens, starts, lengths, np.zeros(0, np.int32), cross=cross), ("hidden",))
        self.lengths = lengths

    def batch(self, parts: Any, **fields: Any) -> Batch:
        return super().batch(parts, cross_len=self.lengths[list(parts)], **fields)


@pytest.mark.covers("logits", "reference")
@pytest.mark.parametrize("way", WAYS)
def test_every_way_of_decoding_gives_transformers_logits(made: parity.Tiny, way: Any) -> None:
    got = way(WithSources(build_model(Checkpoint(made.folder))), TARGETS[0])
    assert parity.difference(got, expected(made, 0)) <= parity.TOLERANCE


@pytest.mark.covers("logits", "reference")
def test_a_ragged_mixture_reads_each_its_own_source(made: parity.Tiny) -> None:
    results = parity.ragged(WithSources(build_model(Checkpoint(made.folder))), TARGETS)
    for s, got in enumerate(results):
        assert parity.difference(got, expected(made, s)) <= parity.TOLERANCE


@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
@pytest.mark.covers("logits", "native")
def test_natively_the_same_bits_however_it_is_decoded(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    options = Options(kv_dtype="f32", activations="f32", threads=2)
    got, *others = (way(WithSources(model, lambda m, _: native.prepare(m, options=options)), TARGETS[0]) for way in WAYS)
    assert parity.difference(got, expected(made, 0)) <= parity.TOLERANCE
    for other in others:
        np.testing.assert_array_equal(other, got)


@pytest.mark.covers("logits", "torch")
def test_on_torch_the_same_however_it_is_decoded(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    for way in WAYS:
        got = way(WithSources(model, lambda m, _: on_torch.prepare(m, options=Options(kv_dtype="f32"))), TARGETS[0])
        assert parity.difference(got, expected(made, 0)) <= parity.TOLERANCE


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    params = Params(checkpoint.metadata, "t5")
    FAMILIES["t5"](params).model(params, Weights(checkpoint))
    right = expected(made, 0)
    for key in sorted(params.seen - {"t5.context_length", "t5.decoder_start_token_id"}):
        changed = Params(dict(checkpoint.metadata) | {key: parity.perturbed(checkpoint.metadata[key])}, "t5")
        try:
            got = parity.whole(WithSources(FAMILIES["t5"](changed).model(changed, Weights(checkpoint))), TARGETS[0])
        except HeronError:
            continue
        assert parity.difference(got, right) > 10 * parity.TOLERANCE, key


@pytest.mark.covers("GGUF", "reference")
def test_written_as_gguf_it_computes_the_same(made: parity.Tiny, tmp_path: Path) -> None:
    checkpoint = Checkpoint(made.folder)
    write_gguf(tmp_path / "t5.gguf", checkpoint.metadata, checkpoint.tensors)
    again, once = (parity.whole(WithSources(build_model(c)), TARGETS[0]) for c in (Checkpoint(tmp_path / "t5.gguf"), checkpoint))
    np.testing.assert_array_equal(again, once)


def test_two_ranks_compute_what_one_does(made: parity.Tiny) -> None:
    model = build_model(Checkpoint(made.folder))
    for got in in_ranks(model, 2, lambda runner: parity.whole(runner, TARGETS[0]), WithSources):
        assert got is not None
        assert parity.difference(got, expected(made, 0)) <= parity.TOLERANCE
    assert shard(model, 0, 2).states["dec.blk.0.cross"].field("key").shape == (2, 10)


def test_generation_reads_the_prompt_and_begins_anew(made: parity.Tiny) -> None:
    """Two prompts in turn, the second one longer: greedy tokens are transformers', and so are the logits."""
    model = heron.load(write_tiny(made.folder), backend="reference", kv_dtype="f32")
    for s in (1, 0):
        source = torch.tensor([SOURCES[s]])
        how = {"max_new_tokens": 20, "do_sample": False, "num_beams": 1, "eos_token_id": None, "pad_token_id": 0}
        theirs = made.hf.generate(source, suppress_tokens=sorted(model.tokenizer.eos_ids), **how)
        answer = model.generate(SOURCES[s], temperature=0, max_tokens=20, ignore_eos=True)
        assert [0, *answer.tokens] == theirs[0].tolist()
        assert answer.timings.prompt_tokens == len(SOURCES[s]) + 1
        assert parity.difference(model.logits(TARGETS[s], SOURCES[s]), expected(made, s)) <= parity.TOLERANCE
    with pytest.raises(RequestError, match="takes a source"):
        model.logits(TARGETS[0])
    with pytest.raises(RequestError, match="the prompt has 512 tokens"):
        model.generate([1] * 512)
    assert model.generate(SOURCES[1], temperature=0, max_tokens=600, ignore_eos=True).finish_reason == "length"


def test_a_start_outside_the_vocabulary_is_refused(made: parity.Tiny) -> None:
    checkpoint = Checkpoint(made.folder)
    params = Params(dict(checkpoint.metadata) | {"t5.decoder_start_token_id": 61}, "t5")
    with pytest.raises(CheckpointError, match="begins with token 61"):
        FAMILIES["t5"](params).model(params, Weights(checkpoint))


def test_another_feed_forward_block_is_refused(tmp_path: Any) -> None:
    parity.tiny(tf.T5Config(**T5, feed_forward_proj="gated-silu"), tmp_path, auto=tf.AutoModelForSeq2SeqLM)
    with pytest.raises(UnsupportedError, match="gated-silu"):
        Checkpoint(tmp_path)
