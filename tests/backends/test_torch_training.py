"""Training: what is frozen, adapted, ragged, written out and read again."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest
import torch
import transformers as tf
from gradients import assert_equal, gradients, learn_from, loss_of, prompts
from tiny_models import DEEPSEEK, SMALL, make
from torch import Tensor

import heron
from heron import Tokenizer, pocket
from heron.backends import native, reference
from heron.backends.base import Options
from heron.backends.torch import weights
from heron.backends.torch.training import Lora, TrainableModel, trainable
from heron.backends.torch.weights import Matrix, product
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.views import Const
from heron.errors import RequestError, UnsupportedError
from heron.graph.graph import Model
from heron.graph.passes.lora import attach
from heron.models.registry import build_model
from heron.quant.formats import FORMATS

BACKEND = native if native.available() else reference
EXACT = Options(kv_dtype="f32", activations="f32")
LINE = "To run a model, type: heron run model.gguf. To chat with it, type: heron run and nothing else."

#: Widths of whole blocks of 32.
BLOCKS: dict[str, Any] = {
    "llama": lambda: tf.LlamaConfig(**{**SMALL, "hidden_size": 64, "intermediate_size": 96}),
    "qwen3moe": lambda: tf.Qwen3MoeConfig(
        **{**SMALL, "hidden_size": 64}, head_dim=32, num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32
    ),
    "deepseek2": lambda: tf.DeepseekV3Config(
        **{**DEEPSEEK, "hidden_size": 64, "intermediate_size": 96, "moe_intermediate_size": 32, "q_lora_rank": 32, "qk_nope_head_dim": 32}
        | {"v_head_dim": 32}
    ),
}


def logits_elsewhere(path: Path, tokens: Tensor) -> np.ndarray:
    """What another backend computes with the file."""

    def prepare(model: Model, options: Options) -> Any:
        return BACKEND.prepare(model, options=options)

    runner = parity.Runner(build_model(Checkpoint(path)), prepare, EXACT)
    return np.stack([parity.whole(parity.Runner(runner.model, prepare, EXACT), row.tolist()) for row in tokens])


def learn(model: TrainableModel, tokens: Tensor, steps: int, rate: float) -> list[float]:
    """The losses of so many steps of AdamW."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=rate), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model(tokens), tokens)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def encoded(checkpoint: Checkpoint, format: str, path: Path) -> tuple[Path, Path]:
    """Two files: matrices in this format, and the numbers that these mean."""
    stored = {
        name: Const(t.numpy(), format=FORMATS[format]) if len(t.shape) > 1 and t.row_length % 32 == 0 else t
        for name, t in checkpoint.tensors.items()
    }
    decoded = {name: Const(t.numpy()) for name, t in stored.items()}
    for file, tensors in ((path / "encoded.gguf", stored), (path / "decoded.gguf", decoded)):
        write_gguf(file, checkpoint.metadata, tensors)
    return path / "encoded.gguf", path / "decoded.gguf"


# Products with frozen matrices


@pytest.mark.parametrize("format", ["Q8_0", "Q4_0", "F16"])
def test_the_gradient_of_a_frozen_product(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By finite differences, with the matrix in one tile and in several."""
    rng = np.random.default_rng(0)
    values = Const(rng.standard_normal((13, 64)), format=FORMATS[format])
    raw = torch.from_numpy(values.rows().copy())
    matrix = Matrix(raw.view(torch.float16)) if format == "F16" else Matrix(raw, FORMATS[format])
    x = torch.from_numpy(rng.standard_normal((2, 5, 64))).requires_grad_()
    expected = torch.nn.functional.linear(x, torch.from_numpy(values.numpy()).double())
    for tile in (1 << 24, 128):
        monkeypatch.setattr(weights, "TILE", tile)
        torch.testing.assert_close(product(x, matrix), expected)
        assert torch.autograd.gradcheck(lambda x: product(x, matrix), (x,))


@pytest.mark.parametrize("name", BLOCKS)
@pytest.mark.parametrize("format", ["Q8_0", "MXFP4"])
def test_frozen_encoded_weights_pass_gradients_on(name: str, format: str, tmp_path: Path) -> None:
    """Of adapters and norms, as the numbers that they mean would; and nothing that was decoded is kept until then."""
    made = parity.tiny(BLOCKS[name](), tmp_path)
    files = encoded(Checkpoint(made.folder), format, tmp_path)
    tokens = prompts(length=23)  # a prime that no matrix has: values are told from it
    found = []
    for file in files:
        torch.manual_seed(0)
        model = trainable(file, train=["*norm*"], lora=Lora(("*.attn_*", "*.ffn_*"), rank=5), recompute=False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        shapes = [tensor.shape for tensor in model.checkpoint.tensors.values() if len(tensor.shape) > 1]
        sizes = {prod(shape) for shape in shapes} | {prod(shape[-2:]) for shape in shapes}  # of matrices and of single experts
        kept = learn_from(model, tokens)
        if file == files[0]:
            assert not {size for size in sizes.intersection(kept) if size % 23}
        found.append({n: p.grad.numpy() for n, p in model.named_parameters()})
    assert sum(".lora_b" in name for name in found[0]) > 4
    assert_equal(*found)


# Batches


@pytest.mark.parametrize("name", ["gemma3", "qwen3moe", "qwen3next", "deepseek2"])
def test_a_ragged_batch_is_a_padded_one_without_what_pads(name: str, tmp_path: Path) -> None:
    model, lengths = trainable(make(name, tmp_path).folder), (24, 7, 24, 1)
    rows = [torch.tensor(parity.prompt(60, n, seed)) for seed, n in enumerate(lengths)]
    padded = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=3)
    found, logits = [], []
    for ragged in (True, False):
        model.zero_grad()
        if ragged:
            got = model(torch.cat(rows), np.cumsum([0, *lengths])).split(lengths)
        else:
            got = [row[:n] for row, n in zip(model(padded), lengths, strict=True)]
        torch.stack([loss_of(y, row) for y, row in zip(got, rows, strict=True) if len(row) > 1]).mean().backward()
        found.append({n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None})
        logits.append(torch.cat(tuple(got)).detach().numpy())
    assert parity.difference(*logits) <= parity.TOLERANCE
    assert_equal(*found, tolerance=2e-4)  # each within 1e-4 of the exact ones


def test_layers_forget_what_they_can_compute_again(tmp_path: Path) -> None:
    folder, tokens = make("llama-linear", tmp_path).folder, prompts()
    whole, bounds = (sum(learn_from(trainable(folder, recompute=recompute), tokens)) for recompute in (False, True))
    assert bounds < 0.2 * whole
    model = trainable(folder)
    with torch.no_grad():
        assert not model(tokens).requires_grad


def test_hidden_states_for_distillation(tmp_path: Path) -> None:
    made, tokens = make("gemma3", tmp_path), prompts()
    model = trainable(made.folder)
    with torch.no_grad():
        states = made.hf(tokens, use_cache=False, output_hidden_states=True).hidden_states
    got = model.outputs(tokens, want=("hidden:1", "hidden:2"))
    for name, x in got.items():
        assert parity.difference(x.detach().numpy(), states[int(name[-1])].numpy()) <= parity.TOLERANCE
    got["hidden:1"].square().mean().backward()
    names = {name for name, p in model.named_parameters() if p.grad is not None}
    assert "blk.0.attn_q.weight" in names and not any(name.startswith("blk.1") for name in names)


# What trains


def test_what_trains_is_chosen_by_names(tmp_path: Path) -> None:
    made = make("llama3", tmp_path)
    every = dict(trainable(made.folder).named_parameters())
    assert every.keys() == Checkpoint(made.folder).tensors.keys() - {"rope_freqs.weight"}
    assert "output.weight" not in every  # tied: counted once
    assert sum(p.numel() for p in every.values()) == sum(p.numel() for p in made.hf.parameters())
    some = trainable(made.folder, train=["blk.1.attn_?.weight", "output_norm.*"])
    names = {"output_norm.weight", *(f"blk.1.attn_{x}.weight" for x in "qkv")}
    assert {name for name, _ in some.named_parameters()} == names == set(some.state_dict())
    tokens = prompts()
    expected = gradients(trainable(made.folder), tokens)
    assert_equal(gradients(some, tokens), {name: expected[name] for name in names})
    adapted = trainable(made.folder, lora=Lora(("*.ffn_*",), rank=2))
    assert {n for n, _ in adapted.named_parameters()} == {
        f"blk.{i}.ffn_{x}.lora_{y}" for i in (0, 1) for x in ("gate", "up", "down") for y in "ab"
    }


@pytest.mark.parametrize(("dtype", "held"), [("bf16", "f32"), ("bf16", "bf16")])
def test_half_precision(dtype: str, held: str, tmp_path: Path) -> None:
    """Gradients point where those of f32 do, in the type that parameters are held in."""
    made, tokens = make("llama", tmp_path), prompts()
    models = trainable(made.folder), trainable(made.folder, dtype=dtype, held=held)
    for model in models:
        loss_of(model(tokens), tokens).backward()
    exact, got = (torch.cat([p.grad.flatten().float() for p in model.parameters()]) for model in models)
    assert all(p.dtype == {"f32": torch.float32, "bf16": torch.bfloat16}[held] for p in models[1].parameters())
    assert 0.97 < torch.cosine_similarity(exact, got, dim=0) < 0.999999
    assert models[1].tensors()["blk.0.ffn_up.weight"].format.name == held.upper()


# What has been learned


@pytest.mark.parametrize("name", ["llama", "gemma3", "phi3", "qwen3moe", "qwen3next", "mamba2", "deepseek2", "gpt2"])
def test_what_was_learned_runs_elsewhere(name: str, tmp_path: Path) -> None:
    """Losses fall; the tensors, written as a GGUF file, give the same logits on another backend, and train on from there."""
    made, tokens = make(name, tmp_path / "model"), prompts()
    model = trainable(made.folder)
    losses = learn(model, tokens, 4, 0.003)
    assert losses[-1] < losses[0]
    path = tmp_path / "learned.gguf"
    write_gguf(path, model.checkpoint.metadata, model.tensors())
    with torch.no_grad():
        expected, again = model(tokens).numpy(), trainable(path)
        assert parity.difference(logits_elsewhere(path, tokens), expected) <= parity.TOLERANCE
        assert parity.difference(again(tokens).numpy(), expected) <= parity.TOLERANCE
        fresh = trainable(made.folder)
        assert parity.difference(fresh(tokens).numpy(), expected) > 0.01
        fresh.load_state_dict(model.state_dict())
        assert parity.difference(fresh(tokens).numpy(), expected) == 0


@pytest.fixture(scope="module")
def line() -> Tensor:
    return torch.tensor([Tokenizer.from_file(pocket.path()).encode(LINE)])


def test_the_pocket_model_learns_a_line(line: Tensor, tmp_path: Path) -> None:
    """Adapters beside weights that stay in Q8_0; merged, and as an adapter, they give the same logits elsewhere."""
    torch.manual_seed(0)
    model = trainable(pocket.path(), lora=Lora(rank=4))
    losses = learn(model, line, 8, 0.005)
    assert losses[-1] < 0.5 * losses[0] and all(np.diff(losses) < 0)
    with torch.no_grad():
        expected = model(line).numpy()
    path = tmp_path / "merged.gguf"
    write_gguf(path, model.checkpoint.metadata, model.tensors())
    assert parity.difference(logits_elsewhere(path, line), expected) <= parity.TOLERANCE
    learned = model.adapter()
    plain = attach(build_model(Checkpoint(pocket.path())), learned.pairs.keys())
    runner = parity.Runner(plain, lambda m, options: BACKEND.prepare(m, options=options), EXACT)
    runner.executable.load_adapter(1, learned)
    got = runner.step({0: line[0].tolist()}, adapter=np.array([1], np.int32))[0]["logits"]
    assert parity.difference(got, expected[0]) <= parity.TOLERANCE
    formats = {name: t.format.name for name, t in Checkpoint(path).tensors.items()}
    assert formats["token_embd.weight"] == "Q8_0" and formats["blk.0.attn_q.weight"] == "F32"


def test_encoded_weights_that_train_are_decoded(line: Tensor) -> None:
    model = trainable(pocket.path())
    assert all(p.dtype == torch.float32 for p in model.parameters())
    losses = learn(model, line, 4, 0.002)
    assert losses[-1] < 0.7 * losses[0]


# What is refused


def test_what_cannot_be(tmp_path: Path) -> None:
    folder = make("llama", tmp_path / "llama").folder
    with pytest.raises(UnsupportedError, match=r"train='blk\.9\.\*' fits none of the weights.*token_embd\.weight"):
        trainable(folder, train=["*norm*", "blk.9.*"])
    with pytest.raises(UnsupportedError, match=r"no matrix fits nothing; there are .*blk\.0\.attn_q\.weight"):
        trainable(folder, lora=Lora(("nothing",)))
    with pytest.raises(UnsupportedError, match=r"no matrix fits token_embd"):
        trainable(make("llama3", tmp_path / "tied").folder, lora=Lora(("token_embd*",)))
    with pytest.raises(UnsupportedError, match="held 'q8_0' is not one of"):
        trainable(folder, held="q8_0")
    with pytest.raises(UnsupportedError, match="t5 cannot be trained"):
        trainable(make("t5", tmp_path / "t5").folder)
    model = trainable(folder)
    for tokens in ([[1, 67]], [-1], [], [[[1]]]):
        with pytest.raises(RequestError, match="numbers from 0 to 66"):
            model(tokens)


def test_the_example_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "training.md"
    code = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    exec(compile(code, str(page), "exec"), {})
    losses = [float(line.split()[1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 20 and losses[-1] < 0.1 * losses[0]
    text = heron.load(tmp_path / "tuned.gguf").generate("The engineer of Alexandria", max_tokens=8, temperature=0).text
    assert text.startswith(" was called Heron")
