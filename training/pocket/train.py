"""Trains the pocket model, the small chat model that ships with Heron, and writes it as GGUF.

`python training/pocket/train.py` takes about 20 minutes on two cores. It needs torch and transformers (`pip install -e '.[dev]'`).
The same seed, steps and threads on the same machine give the same file.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from dialogues import DEV, HELD_OUT, dialogues, without
from evaluate import Answer, evaluate, validate
from export import export
from fact import Fact
from knowledge import FACTS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizer import IGNORED, encode_dialogue, train_tokenizer
from tokenizers import Tokenizer
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

POCKET = Path(__file__).resolve().parents[2] / "heron/pocket/pocket.gguf"

VOCABULARY = 2048
TOKENIZER_DIALOGUES = 20_000
BATCH = 32  # dialogues
POOL = 32  # batches whose dialogues are sorted by length together, so that little is padding
MAX_TOKENS = 256  # of a dialogue; longer ones are left out
# Replies are few and soon known by heart; which of them to give is what takes long to learn, and shows in the first tokens.
OPENING_TOKENS, OPENING_SHARE = 16, 0.9
PEAK_RATE, FINAL_RATE, WARMUP = 3e-3, 3e-5, 100  # the learning rate falls by a half cosine
WEIGHT_DECAY = 0.1

Batch = tuple[torch.Tensor, torch.Tensor]


def shape(vocabulary: int) -> LlamaConfig:
    """Every width is a multiple of 32, the block of Q8_0."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=1,
        head_dim=64,
        intermediate_size=512,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )


def batches(tokenizer: Tokenizer, seed: int, facts: Sequence[Fact]) -> Iterator[Batch]:
    """Ids and targets, each int64 [BATCH, longest]. Padding comes last, so that no real token attends to it."""
    rng, stream = random.Random(seed), dialogues(seed, facts)
    while True:
        encoded = (shortened(rng, *encode_dialogue(tokenizer, messages)) for messages in stream)
        pool = sorted(islice((pair for pair in encoded if len(pair[0]) <= MAX_TOKENS), BATCH * POOL), key=lambda pair: len(pair[0]))
        groups = [pool[start : start + BATCH] for start in range(0, len(pool), BATCH)]
        rng.shuffle(groups)
        for group in groups:
            longest = max(len(ids) for ids, _ in group)
            ids = torch.tensor([ids + [0] * (longest - len(ids)) for ids, _ in group])
            targets = torch.tensor([targets + [IGNORED] * (longest - len(targets)) for _, targets in group])
            yield ids, targets


def shortened(rng: random.Random, ids: list[int], targets: list[int]) -> tuple[list[int], list[int]]:
    """Of most dialogues of one turn, all up to the opening of the reply."""
    spoken = [place for place, target in enumerate(targets) if target != IGNORED]
    one_turn = spoken[-1] - spoken[0] == len(spoken) - 1
    end = spoken[0] + OPENING_TOKENS if one_turn and rng.random() < OPENING_SHARE else len(ids)
    return ids[:end], targets[:end]


def learning_rate(step: int, steps: int) -> float:
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2


def loss_of(model: LlamaForCausalLM, ids: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """The mean cross entropy of what the assistant says. Logits are computed for those tokens alone."""
    counts = targets != IGNORED
    with torch.autocast("cpu", torch.bfloat16):
        hidden = model.model(ids, use_cache=False).last_hidden_state[counts]
        logits = model.lm_head(hidden)
    return cross_entropy(logits.float(), targets[counts])


def optimizers_of(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024), which needs fewer steps, for the layers' matrices; AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def train(model: LlamaForCausalLM, tokenizer: Tokenizer, steps: int, seed: int, facts: Sequence[Fact], console: Console) -> None:
    optimizers = optimizers_of(model)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)
        for step, (ids, targets) in enumerate(islice(batches(tokenizer, seed, facts), steps)):
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = learning_rate(step, steps)
            loss = loss_of(model, ids, targets)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
            progress.update(task, advance=1, description=f"loss {loss.item():.3f}")
            if (step + 1) % 100 == 0 and not console.is_terminal:
                console.print(f"step {step + 1} loss {loss.item():.4f}")


def report(name: str, answers: Sequence[Answer], console: Console, show: bool = True) -> None:
    """The score, and the wrong answers of a set that may be looked at."""
    console.print(f"{name}: {sum(a.right for a in answers)} of {len(answers)} answers name what they have to")
    for a in answers:
        if show and not a.right:
            console.print(f"  {a.question} -> {a.text}", markup=False)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train Heron's pocket model.")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--validate", type=int, metavar="N", help="leave every Nth question that is written out for validation")
    parser.add_argument("--out", type=Path, default=POCKET)
    args = parser.parse_args()

    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(args.seed)
    console = Console()
    facts, left_out = without(FACTS, args.validate) if args.validate else (FACTS, [])
    tokenizer = train_tokenizer(islice(dialogues(args.seed), TOKENIZER_DIALOGUES), VOCABULARY)
    model = LlamaForCausalLM._from_config(shape(tokenizer.get_vocab_size()), attn_implementation="eager")  # the fastest for short sequences
    console.print(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} tokens")
    train(model, tokenizer, args.steps, args.seed, facts, console)
    model.eval()
    report("validation", validate(model, tokenizer, left_out), console)
    report("dev", evaluate(model, tokenizer, DEV), console)
    if not args.validate:
        report("held out", evaluate(model, tokenizer, HELD_OUT), console, show=False)
    export(args.out, model, tokenizer)
    console.print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
