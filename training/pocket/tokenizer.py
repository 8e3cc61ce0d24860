"""The pocket model's vocabulary: byte-level BPE with GPT-2's pre-tokenizer, and a token for the head of each reply.

Which reply to give is all that is hard, so it is one choice: the first token of a reply is its head, such as "`heron serve --port N`".
No merge leads to these tokens; what people type is never read as one of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence

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


class Vocabulary:
    """Byte-level BPE of `size` tokens, the special ones first, then the 256 bytes; after these the heads of the replies."""

    def __init__(self, corpus: Iterable[list[Message]], size: int, replies: Sequence[str]) -> None:
        self.words = Tokenizer(models.BPE())
        self.words.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        self.words.decoder = decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=list(SPECIAL), initial_alphabet=alphabet, show_progress=False)
        self.words.train_from_iterator((message["content"] for messages in corpus for message in messages), trainer)
        self.first_head = self.words.get_vocab_size()
        self.heads = list(heads(replies))
        self.head_of = {reply: number for number, reply in enumerate(replies)}
        self.end: int = self.words.token_to_id(END)

    @property
    def size(self) -> int:
        return self.first_head + len(self.heads)

    def tokens(self) -> list[str]:
        """All tokens, their bytes written as GPT-2 writes them."""
        ids = self.words.get_vocab()
        spell = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        return sorted(ids, key=ids.__getitem__) + [spell.pre_tokenize_str(head)[0][0] for head in self.heads]

    def merges(self) -> list[str]:
        return [" ".join(pair) for pair in json.loads(self.words.to_str())["model"]["merges"]]

    def reply(self, text: str) -> list[int]:
        """Ids of a reply, which begin with its head if it has one."""
        if text not in self.head_of:
            return self.words.encode(text).ids
        number = self.head_of[text]
        return [self.first_head + number, *self.words.encode(text[len(self.heads[number]) :]).ids]

    def decode(self, ids: Sequence[int]) -> str:
        head = self.heads[ids[0] - self.first_head] if ids and ids[0] >= self.first_head else ""
        return head + self.words.decode([id for id in ids if id < self.first_head])

    def dialogue(self, messages: list[Message]) -> tuple[list[int], list[int]]:
        """Ids of a dialogue up to the end of its last reply, and the targets: at each place the next id within that reply, else IGNORED."""
        prompt = self.prompt(messages[:-1])
        reply = [*self.reply(messages[-1]["content"]), self.end]
        return prompt + reply, [IGNORED] * (len(prompt) - 1) + reply + [IGNORED]

    def prompt(self, messages: list[Message]) -> list[int]:
        """Ids up to where the assistant is to speak. What it said before is a text as any other."""
        text = "".join(f"{START}{message['role']}\n{message['content']}{END}\n" for message in messages)
        ids: list[int] = self.words.encode(f"{text}{START}assistant\n").ids
        return ids


def heads(replies: Sequence[str]) -> Iterator[str]:
    """Of each reply the code that it begins with, or else a few words; and more words where another reply has the same head."""
    taken: set[str] = set()
    for reply in replies:
        begin = re.match(r"`[^`]*`|\S+( \S+){0,2}", reply)
        assert begin is not None
        end = begin.end()
        while reply[:end] in taken and end < len(reply):
            following = re.compile(r"\s*\S+").match(reply, end)
            assert following is not None
            end = following.end()
        taken.add(reply[:end])
        yield reply[:end]
