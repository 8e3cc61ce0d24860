"""The pocket model's tokenizer: byte-level BPE with GPT-2's pre-tokenizer, and its ChatML dialogues as token ids."""

from __future__ import annotations

from collections.abc import Iterable

from dialogues import Message
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

END_OF_TEXT, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPECIAL = (END_OF_TEXT, START, END)

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

#: Marks a token that the loss does not count, as torch's cross entropy has it.
IGNORED = -100


def train_tokenizer(corpus: Iterable[list[Message]], size: int) -> Tokenizer:
    """Byte-level BPE of `size` tokens; the special ones come first, then the 256 bytes."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator((message["content"] for messages in corpus for message in messages), trainer)
    return tokenizer


def encode_dialogue(tokenizer: Tokenizer, messages: list[Message]) -> tuple[list[int], list[int]]:
    """Ids of a whole dialogue, and the targets: at each place the next id where the assistant speaks, else IGNORED."""
    ids: list[int] = []
    spoken: list[bool] = []
    for message in messages:
        head = tokenizer.encode(f"{START}{message['role']}\n").ids
        body = tokenizer.encode(f"{message['content']}{END}").ids
        tail = tokenizer.encode("\n").ids
        ids += head + body + tail
        spoken += [False] * len(head) + [message["role"] == "assistant"] * len(body) + [False] * len(tail)
    targets = [token if counts else IGNORED for token, counts in zip(ids[1:], spoken[1:], strict=True)]
    return ids, [*targets, IGNORED]


def encode_prompt(tokenizer: Tokenizer, messages: list[Message]) -> list[int]:
    """Ids up to where the assistant is to speak."""
    text = "".join(f"{START}{message['role']}\n{message['content']}{END}\n" for message in messages)
    ids: list[int] = tokenizer.encode(f"{text}{START}assistant\n").ids
    return ids
