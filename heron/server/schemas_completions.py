"""What clients send to completions."""

from __future__ import annotations

from pydantic import Field

from heron.server.body import Flag, Whole, example
from heron.server.parameters import Sampling, about
from heron.server.prompts import Prompts
from heron.server.schemas_chat import NO_MATTER, StreamOptions


class CompletionRequest(Sampling):
    """Texts to go on with."""

    model_config = example({"prompt": "Once upon a time", "max_tokens": 100})

    prompt: Prompts = Field(description="A text, token ids, or a list of these.")
    stream_options: StreamOptions = StreamOptions()
    n: Whole = Field(1, description="How many answers to each prompt.", ge=1)
    best_of: Whole | None = about("The same as n.")
    echo: Flag = Field(False, description="Whether the answer begins with the prompt.")
    logprobs: Whole | None = Field(None, description="Give each token's log-probability, and so many of the likeliest.", ge=0)
    suffix: str | None = about("What comes after the answer, for models that fill in.")
    parse_special: Flag = Field(False, description="Whether a text's special tokens are these, and no text.")

    @property
    def ignored(self) -> list[str]:
        return [name for name in self.unknown if name not in NO_MATTER]
