"""InternLM 2, which transformers lacks: a Llama's weights in InternLM's folder layout must give the Llama's logits."""

from __future__ import annotations

from typing import Any

import llama_cpp_peer as peer
import parity
import pytest
from tiny_gguf import check_commands, write_tiny
from tiny_internlm2 import DIM, HIDDEN, KV_HEADS, internlm2

from heron.backends import native
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.models.registry import build_model


@pytest.fixture(scope="module", params=["plain", "biased"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    return internlm2(tmp_path_factory.mktemp("internlm2"), bias=request.param == "biased")


@pytest.mark.covers("logits", "reference")
def test_every_way_of_computing_gives_the_logits_of_the_llama(made: parity.Tiny) -> None:
    model = parity.check_parity(made)
    assert model.architecture == "internlm2"


@pytest.mark.parametrize("backend", parity.OTHER_BACKENDS)
def test_the_other_backends_compute_the_same(made: parity.Tiny, backend: Any) -> None:
    options = Options(kv_dtype="f32", activations="f32", threads=1)
    parity.check_parity(made, prepare=lambda model, options: backend.prepare(model, options=options), options=options)


@pytest.mark.covers("keys", "reference")
def test_each_hyperparameter_matters(made: parity.Tiny) -> None:
    assert parity.check_sensitive(made)


@pytest.mark.covers("GGUF", "reference")
def test_a_gguf_file_has_q_k_and_v_apart_and_computes_the_same(made: parity.Tiny) -> None:
    checkpoint, path, tokens = Checkpoint(made.folder), made.folder / "written.gguf", parity.prompt(67, 40)
    write_gguf(path, checkpoint.metadata, checkpoint.tensors)
    stored = Checkpoint(path)
    assert stored.tensors["blk.1.attn_k.weight"].shape == (KV_HEADS * DIM, HIDDEN)
    assert parity.difference(parity.whole(parity.Runner(build_model(stored)), tokens), made.expected(tokens)) <= parity.TOLERANCE


@pytest.mark.covers("command", "native")
@pytest.mark.skipif(not native.available(), reason="the core is not compiled")
def test_the_commands(made: parity.Tiny) -> None:
    check_commands(made)


@pytest.mark.slow
@pytest.mark.covers("logits", "llama.cpp")
@pytest.mark.parametrize("made", ["plain"], indirect=True)  # llama.cpp has no bias on the output
def test_llama_cpp_computes_the_same(made: parity.Tiny) -> None:
    pytest.importorskip("llama_cpp", reason="llama-cpp-python, the extra `peers`, is not installed")
    path, tokens = write_tiny(made.folder), parity.prompt(67, 40)
    ours = parity.whole(parity.Runner(build_model(Checkpoint(path))), tokens)
    assert parity.difference(ours, peer.logits(path, tokens)) <= parity.TOLERANCE
