"""Gradients of Heron's parameters beside transformers', under canonical names."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import parity
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from heron.backends.torch.training import TrainableModel
from heron.checkpoint.checkpoint import Checkpoint

#: Largest difference of gradients of a parameter, relative to the largest of them.
TOLERANCE = 1e-4

#: A parameter whose gradients are this small beside the model's largest has none, but for rounding: a key's bias where no rope turns it
#: shifts all scores of a query alike.
NOTHING = 1e-6

Gradients = dict[str, NDArray[np.float32]]


def prompts(vocab: int = 60, length: int = 24) -> torch.Tensor:
    return torch.tensor([parity.prompt(vocab, length, seed) for seed in (0, 1)])


def loss_of(logits: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    return cross_entropy(logits[..., :-1, :].flatten(0, -2).float(), tokens[..., 1:].flatten())


def gradients(model: TrainableModel, tokens: torch.Tensor) -> Gradients:
    model.zero_grad()
    loss_of(model(tokens), tokens).backward()
    return {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}


def learn_from(model: TrainableModel, tokens: torch.Tensor) -> list[int]:
    """Compute gradients; the sizes of the values that were kept for them, but for what layers keep of their own."""
    kept: list[int] = []

    def note(x: torch.Tensor) -> torch.Tensor:
        kept.append(x.numel())
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        loss = loss_of(model(tokens), tokens)
    loss.backward()
    return kept


def of_logits(hf: Any, tokens: torch.Tensor) -> torch.Tensor:
    return loss_of(hf(tokens, use_cache=False).logits, tokens)


def expected_gradients(
    made: parity.Tiny, tokens: torch.Tensor, folder: Path, loss: Callable[[Any, torch.Tensor], torch.Tensor] = of_logits
) -> Gradients:
    """transformers' gradients under canonical names. Layouts are affine maps: what they make of a folder of gradients, less what
    they make of zeros, are the gradients in GGUF's layout."""
    hf = copy.deepcopy(made.hf)
    loss(hf, tokens).backward()
    shown = []
    for name in ("gradients", "zeros"):
        with torch.no_grad():
            for parameter in hf.parameters():
                grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
                parameter.copy_(grad if name == "gradients" else torch.zeros_like(grad))
            for buffer in hf.buffers():
                if buffer.is_floating_point():
                    buffer.zero_()
        hf.save_pretrained(folder / name)
        shown.append({n: t.numpy() for n, t in Checkpoint(folder / name).tensors.items()})
    found = {name: shown[0][name] - zero for name, zero in shown[1].items()}
    # But for rates of decay, of which HF folders hold the logarithm: a = -exp(log).
    layer = {name: name.partition(".layers.")[2].partition(".")[0] for name, _ in hf.named_parameters()}
    logs = {f"blk.{layer[name]}.ssm_a": p.grad.numpy() for name, p in hf.named_parameters() if name.endswith("A_log")}
    rates = Checkpoint(made.folder).tensors
    return found | {name: (grad.reshape(rates[name].shape) / rates[name].numpy()) for name, grad in logs.items()}


def joined(found: Gradients, expected: Gradients) -> Gradients:
    """Gradients by tensor: those of weights that are stored in one tensor, one behind another."""
    parts: dict[str, list[tuple[int, NDArray[np.float32]]]] = {}
    for name, grad in found.items():
        stem, _, label = name.partition("[")
        parts.setdefault(stem, []).append((int(label.split(":")[0] or 0) if label else 0, grad))
    whole = {}
    for stem, pieces in parts.items():
        ordered = [grad for _, grad in sorted(pieces, key=lambda piece: piece[0])]
        whole[stem] = np.concatenate(ordered, -2 if "exps" in stem and ordered[0].ndim > 2 else 0).reshape(expected[stem].shape)
    return whole


def assert_equal(got: Gradients, expected: Gradients, tolerance: float = TOLERANCE) -> None:
    nothing = NOTHING * max(np.abs(grad).max() for grad in expected.values())
    for name, want in expected.items():
        if np.abs(want).max() <= nothing:
            assert name not in got or np.abs(got[name]).max() <= nothing, name
            continue
        off = np.abs(got[name] - want).max() / np.abs(want).max()
        assert off <= tolerance, f"{name} differs by {off:.1e}"
