"""Trains the pocket model, the small chat model that ships with Heron, and writes it as GGUF.

`python training/pocket/train.py` takes about 20 minutes on one core, and prints how many of the held-out questions of tests/pocket it
answers rightly. It needs torch and transformers (`pip install -e '.[dev]'`).

1. The vocabulary: words of the dialogues, and a token for the head of each reply (tokenizer.py).
2. The embeddings alone, as a bag of words (bag.py).
3. The whole model, on questions and the heads of replies, and on whole replies.
4. Whole replies by heart (by_heart.py), from numbers that a file can hold, so that this can begin from a file, too.

The same seed, steps and threads on the same machine give the same file.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from bag import start_as_bag_of_words, train_bag
from batches import Batch, batches
from by_heart import ByHeart
from dialogues import DEV, ELSEWHERE_FACT, HELD_OUT, Speaker, avoided_questions, dialogues, without
from elsewhere import SMALL_TALK
from evaluate import Answer, evaluate, validate
from export import export, round_as_written
from forward import hidden_states
from knowledge import FACTS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizer import IGNORED, Vocabulary
from torch.nn.functional import cross_entropy, linear
from transformers import LlamaConfig, LlamaForCausalLM

POCKET = Path(__file__).resolve().parents[2] / "heron/pocket/pocket.gguf"

WORDS = 3072
TOKENIZER_DIALOGUES = 30_000
BAG_STEPS, STEPS, HEART_STEPS = 1200, 1400, 450
PEAK_RATE, HEART_RATE, FINAL_RATE, WARMUP = 1.2e-3, 6e-4, 2e-5, 100  # the learning rate falls by a half cosine
KNOWN_SHARE = 0.3  # of the rate, for the embeddings, which have learned already as a bag of words
WEIGHT_DECAY = 0.1


def shape(vocabulary: int) -> LlamaConfig:
    """Every width is a multiple of 32, the block of Q8_0."""
    return LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=4,
        head_dim=64,
        intermediate_size=512,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
    )


def learning_rate(step: int, steps: int, peak: float) -> float:
    if step < WARMUP:
        return peak * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_RATE + (peak - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2


def loss_of(model: LlamaForCausalLM, batch: Batch) -> torch.Tensor:
    """The mean cross entropy of what the assistant says. Logits are computed for those tokens alone."""
    counts = batch.targets != IGNORED
    logits = linear(hidden_states(model, batch.ids)[counts], model.lm_head.weight.bfloat16())
    return cross_entropy(logits.float(), batch.targets[counts])


def optimizers_of(model: LlamaForCausalLM) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024), which needs fewer steps, for the layers' matrices; AdamW for the embedding and the norms."""
    matrices = [p for p in model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in model.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


Loss = Callable[[LlamaForCausalLM, Batch], torch.Tensor]


def train(
    model: LlamaForCausalLM, stream: Iterator[Batch], steps: int, console: Console, loss_of: Loss = loss_of, peak: float = PEAK_RATE
) -> None:
    optimizers = optimizers_of(model)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=steps)
        for step, batch in enumerate(islice(stream, steps)):
            for optimizer, share in zip(optimizers, (1.0, KNOWN_SHARE), strict=True):
                optimizer.param_groups[0]["lr"] = share * learning_rate(step, steps, peak)
            loss = loss_of(model, batch)
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
    parser.add_argument("--scale", type=float, default=1.0, help="times as many steps, to try things with fewer")
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
    replies = dict.fromkeys(fact.reply for fact in (*FACTS, *SMALL_TALK, ELSEWHERE_FACT))
    vocabulary = Vocabulary(islice(dialogues(args.seed), TOKENIZER_DIALOGUES), WORDS, tuple(replies))
    model = LlamaForCausalLM._from_config(shape(vocabulary.size))
    console.print(f"{model.num_parameters():,} parameters, {vocabulary.size} tokens")
    start_as_bag_of_words(model)
    loss = train_bag(model, vocabulary, Speaker(args.seed + 1, facts, avoided_questions()), round(BAG_STEPS * args.scale))
    console.print(f"as a bag of words: loss {loss:.4f}")
    train(model, batches(vocabulary, args.seed, facts), round(STEPS * args.scale), console)
    round_as_written(model)
    whole = batches(vocabulary, args.seed + 2, facts, heads=0.0)
    train(model, whole, round(HEART_STEPS * args.scale), console, ByHeart(model), HEART_RATE)
    model.eval()
    export(args.out, model, vocabulary)
    console.print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")
    report("dev", evaluate(model, vocabulary, DEV), console)
    if args.validate:
        report("validation", validate(model, vocabulary, left_out), console)
    else:
        for path in HELD_OUT:
            report(f"held out, {path.name}", evaluate(model, vocabulary, path), console, show=False)


if __name__ == "__main__":
    main()
