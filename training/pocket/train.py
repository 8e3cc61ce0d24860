"""Trains the pocket model, the small chat model that ships with Heron, and writes it as GGUF.

`python training/pocket/train.py` takes about 20 minutes on two cores. It needs torch and transformers (`pip install -e '.[dev]'`).
The same seed, steps and threads on the same machine give the same file.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import torch
from bag import start_as_bag_of_words, train_bag
from batches import Batch, batches
from dialogues import DEV, ELSEWHERE_FACT, HELD_OUT, Speaker, avoided_questions, dialogues, without
from elsewhere import SMALL_TALK
from evaluate import Answer, evaluate, validate
from export import export
from forward import hidden_states
from knowledge import FACTS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizer import IGNORED, train_tokenizer
from torch.nn.functional import cross_entropy, linear, rms_norm
from transformers import LlamaConfig, LlamaForCausalLM

POCKET = Path(__file__).resolve().parents[2] / "heron/pocket/pocket.gguf"

VOCABULARY = 3072
TOKENIZER_DIALOGUES = 30_000
BAG_STEPS = 1200
FINAL_RATE, WARMUP = 2e-5, 100
KNOWN_SHARE = 0.3  # of the rate, for what has learned already as a bag of words
WEIGHT_DECAY = 0.1


@dataclass(frozen=True)
class Stage:
    """A stretch of the training."""

    steps: int
    peak: float  # the learning rate, which falls from there by a half cosine
    openings: float  # share of the dialogues of which only the opening of the reply is learned
    naming: float  # weight of the loss of naming the fact


#: Which reply to give is what takes long to learn, and shows in the first tokens; then the replies, which are few, are learned by heart.
STAGES = (Stage(2200, 1e-3, openings=0.88, naming=0.5), Stage(400, 1.2e-3, openings=0.0, naming=0.0))


class Learner(torch.nn.Module):
    """The model, and a head that is there while it learns: it names the fact asked for, before the last layer, where the reply is to begin.

    So the choice, which is all that is hard, is made in one place, and the later tokens of the reply can look it up there.
    """

    def __init__(self, model: LlamaForCausalLM, facts: int) -> None:
        super().__init__()
        self.model = model
        self.namer = torch.nn.Linear(model.config.hidden_size, facts, bias=False)

    def forward(self, batch: Batch, naming: float) -> torch.Tensor:
        """The mean cross entropy of what the assistant says, and of the names. Logits are computed for those tokens alone."""
        counts, begins = batch.targets != IGNORED, batch.facts != IGNORED
        early, late = hidden_states(self.model, batch.ids)
        logits = linear(late[counts], self.model.lm_head.weight.bfloat16())
        saying = cross_entropy(logits.float(), batch.targets[counts])
        if not naming:
            return saying
        names = linear(rms_norm(early[begins], early.shape[-1:]), self.namer.weight.bfloat16())
        return saying + naming * cross_entropy(names.float(), batch.facts[begins])


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


def learning_rate(step: int, stage: Stage) -> float:
    if step < WARMUP:
        return stage.peak * (step + 1) / WARMUP
    done = (step - WARMUP) / max(1, stage.steps - WARMUP)
    return FINAL_RATE + (stage.peak - FINAL_RATE) * (1 + math.cos(math.pi * done)) / 2


def optimizers_of(learner: Learner) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024), which needs fewer steps, for the layers' matrices; AdamW for the embedding, the norms and the names."""
    matrices = [p for p in learner.model.model.layers.parameters() if p.ndim == 2]
    rest = [p for p in learner.parameters() if not any(p is matrix for matrix in matrices)]
    return [
        torch.optim.Muon(matrices, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, weight_decay=0.0, betas=(0.9, 0.98)),
    ]


def train(learner: Learner, stage: Stage, stream: Iterator[Batch], console: Console) -> None:
    optimizers = optimizers_of(learner)
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("training", total=stage.steps)
        for step, batch in enumerate(islice(stream, stage.steps)):
            for optimizer, share in zip(optimizers, (1.0, KNOWN_SHARE), strict=True):
                optimizer.param_groups[0]["lr"] = share * learning_rate(step, stage)
            loss = learner(batch, stage.naming)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
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
    tokenizer = train_tokenizer(islice(dialogues(args.seed), TOKENIZER_DIALOGUES), VOCABULARY)
    model = LlamaForCausalLM._from_config(shape(tokenizer.get_vocab_size()))
    console.print(f"{model.num_parameters():,} parameters, {tokenizer.get_vocab_size()} tokens")
    replies = {reply: number for number, reply in enumerate(dict.fromkeys(fact.reply for fact in (*FACTS, *SMALL_TALK, ELSEWHERE_FACT)))}
    learner = Learner(model, len(replies))
    start_as_bag_of_words(model)
    speaker = Speaker(args.seed + 1, facts, avoided_questions())
    loss = train_bag(model, learner.namer, tokenizer, speaker, replies, round(BAG_STEPS * args.scale))
    console.print(f"as a bag of words: loss {loss:.4f}")
    for number, stage in enumerate(STAGES):
        stream = batches(tokenizer, args.seed + 2 * number, facts, replies, stage.openings)
        train(learner, replace(stage, steps=round(stage.steps * args.scale)), stream, console)
    model.eval()
    report("dev", evaluate(model, tokenizer, DEV), console)
    if args.validate:
        report("validation", validate(model, tokenizer, left_out), console)
    else:
        report("held out", evaluate(model, tokenizer, HELD_OUT), console, show=False)
    export(args.out, model, tokenizer)
    console.print(f"{args.out}: {args.out.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
