"""The first stage of the training: what each word alone says of the fact that is asked for.

A model that starts as a bag of words is a table of embeddings, of the words and of the heads of the replies. Those learn here, without the
layers, a hundred times as fast as with them: from random weights a model takes tens of thousands of dialogues until it begins to read.
"""

from __future__ import annotations

import torch
from dialogues import Speaker
from tokenizer import Vocabulary
from torch.nn.functional import cross_entropy, embedding, linear, rms_norm
from transformers import LlamaForCausalLM

MEAN_WEIGHT = 3.0  # of the mean of embeddings, beside the embedding of the last token
BATCH, RATE = 256, 5e-3


@torch.no_grad()
def start_as_bag_of_words(model: LlamaForCausalLM) -> None:
    """The first layer hands on the mean of all embeddings so far, and the others nothing."""
    for number, layer in enumerate(model.model.layers):
        attention = layer.self_attn
        torch.nn.init.zeros_(layer.mlp.down_proj.weight)
        if number == 0:
            torch.nn.init.zeros_(attention.q_proj.weight)
            torch.nn.init.eye_(attention.v_proj.weight)
            attention.o_proj.weight.copy_(MEAN_WEIGHT * torch.eye(model.config.hidden_size))
        else:
            torch.nn.init.zeros_(attention.o_proj.weight)


def train_bag(model: LlamaForCausalLM, vocabulary: Vocabulary, speaker: Speaker, steps: int) -> float:
    """Trains the embeddings of a model that is a bag of words; the last loss."""
    embeddings = model.model.embed_tokens.weight
    optimizer = torch.optim.AdamW([embeddings], weight_decay=0.0, betas=(0.9, 0.98))
    loss = torch.zeros(())
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = RATE * (1 - 0.9 * step / steps)
        asked = [speaker.ask(0) for _ in range(BATCH)]
        prompts = [vocabulary.prompt([{"role": "user", "content": ask}]) for _, ask in asked]
        bag = torch.nn.utils.rnn.pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=-1)
        lengths = torch.tensor([[len(prompt)] for prompt in prompts])
        vectors = embedding(bag.clamp(min=0), embeddings)
        mean = (rms_norm(vectors, vectors.shape[-1:]) * (bag >= 0)[..., None]).sum(1) / lengths
        summed = vectors[torch.arange(BATCH), lengths[:, 0] - 1] + MEAN_WEIGHT * mean
        heads = linear(rms_norm(summed, summed.shape[-1:]), embeddings[vocabulary.first_head :])
        loss = cross_entropy(heads, torch.tensor([vocabulary.head_of[fact.reply] for fact, _ in asked]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return loss.item()
