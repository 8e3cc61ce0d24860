"""A vocabulary between two kinds of files: what each token is, and how text is prepared."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from heron.text.gguf_vocabulary import Kind


@dataclass
class Entries:
    """The tokens of a tokenizer as GGUF files list them.

    model    ``tokenizer.ggml.model``
    tokens   each id's text as GGUF spells it; "" where the source has a gap
    kinds    what each one is
    scores   for kinds of vocabularies that need them
    merges   "left right", best first, for those of byte-level BPE
    unknown  the id of what text becomes that no token spells
    others   further keys ``tokenizer.ggml.*`` -> values
    """

    model: str
    tokens: list[str]
    kinds: list[Kind]
    scores: list[float] | None = None
    merges: list[str] | None = None
    unknown: int | None = None
    others: dict[str, Any] = field(default_factory=dict)

    def resize(self, count: int) -> None:
        """As many tokens as the embedding has rows: further ones that no text has, or the last ones cut off."""
        del self.tokens[count:], self.kinds[count:]
        missing = count - len(self.tokens)
        self.tokens += [""] * missing
        self.kinds += [Kind.UNUSED] * missing
        if self.scores is not None:
            del self.scores[count:]
            self.scores += [_NEVER] * (count - len(self.scores))
        for id, token in enumerate(self.tokens):
            if not token:
                self.tokens[id], self.kinds[id] = f"[PAD{id}]", Kind.UNUSED


#: The score of tokens that are never chosen.
_NEVER = -10000.0
