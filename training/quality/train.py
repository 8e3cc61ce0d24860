"""Trains a small Llama on plain text, for judging quantizers: what rounding costs shows only in weights that have learned something.

    python training/quality/train.py FOLDER TEXT... [--steps 1500]

The first nine tenths of each text are learned; the rest is written to ``FOLDER/held_out.txt``, on which to measure. The folder is a Hugging
Face checkpoint. Every width is a multiple of 256, the block of the K- and IQ-formats. About 20 minutes on two cores; seeded. It needs
torch and transformers (``pip install -e '.[dev]'``).
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import torch
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

VOCABULARY, END = 4096, "<|endoftext|>"
BATCH, LENGTH = 16, 192  # sequences a step, tokens of each
PEAK_RATE, FINAL_RATE, WARMUP, WEIGHT_DECAY = 2e-3, 2e-5, 100, 0.1
LEARNED = 0.9


def shape() -> LlamaConfig:
    """Four queries to a key, so that mixes treat values as they do in large models."""
    return LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        num_hidden_layers=8,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=768,
        max_position_embeddings=1024,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
    )


def train_tokenizer(text: str) -> Tokenizer:
    """Byte-level BPE, split as GPT-2's is."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        text.splitlines(keepends=True),
        trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False),
    )
    return tokenizer


def rate(step: int, steps: int) -> float:
    """The learning rate: a linear rise, then a half cosine down."""
    if step < WARMUP:
        return PEAK_RATE * (step + 1) / WARMUP
    way = (step - WARMUP) / max(1, steps - WARMUP)
    return FINAL_RATE + (PEAK_RATE - FINAL_RATE) * (1 + math.cos(math.pi * way)) / 2


def train(model: LlamaForCausalLM, ids: torch.Tensor, steps: int, seed: int) -> None:
    places = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=WEIGHT_DECAY, betas=(0.9, 0.95))
    columns = (TextColumn("loss {task.fields[loss]:.3f}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        task = progress.add_task("", total=steps, loss=math.nan)
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = rate(step, steps)
            starts = torch.randint(len(ids) - LENGTH, (BATCH, 1), generator=places)
            batch = ids[starts + torch.arange(LENGTH + 1)]
            with torch.autocast("cpu", torch.bfloat16):
                logits = model(batch[:, :-1]).logits
            loss = cross_entropy(logits.float().flatten(0, 1), batch[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            progress.update(task, advance=1, loss=loss.item())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("texts", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    texts = [path.read_text() for path in args.texts]
    learned = "".join(text[: int(len(text) * LEARNED)] for text in texts)
    args.folder.mkdir(parents=True, exist_ok=True)
    (args.folder / "held_out.txt").write_text("".join(text[int(len(text) * LEARNED) :] for text in texts))
    tokenizer = train_tokenizer(learned)
    model = LlamaForCausalLM(shape())
    train(model, torch.tensor(tokenizer.encode(learned).ids), args.steps, args.seed)
    model.save_pretrained(args.folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=END, bos_token=END).save_pretrained(args.folder)


if __name__ == "__main__":
    main()
