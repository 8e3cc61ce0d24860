"""What clients of llama.cpp's server send."""

from __future__ import annotations

from pydantic import BaseModel, Field

from heron.server.body import Flag, Whole, example
from heron.server.parameters import Sampling, about
from heron.server.prompts import Prompts
from heron.server.schemas_model import ForModel

#: Parameters that change nothing here, and need no warning.
NO_MATTER = frozenset({"cache_prompt", "id_slot", "n_keep", "n_cache_reuse", "min_keep", "sse_ping_interval"})


class NativeSampling(Sampling):
    n: Whole = Field(1, description="How many answers to each prompt. Also n_cmpl.", ge=1)
    n_probs: Whole = Field(0, description="Give each token's log-probability, and so many of the likeliest; 0: none.", ge=0)
    return_tokens: Flag = Field(False, description="Whether to give the answer's token ids.")
    timings_per_token: Flag = Field(False, description="Whether each event of a stream has timings.")
    response_fields: list[str] | None = about("Give these fields alone; a/b is b of a.")
    parse_special: Flag = Field(True, description="Whether a text's special tokens are these, and no text.")

    @property
    def ignored(self) -> list[str]:
        return [name for name in self.unknown if name not in NO_MATTER]


class NativeCompletion(NativeSampling):
    """Texts to go on with."""

    model_config = example({"prompt": "Once upon a time", "n_predict": 100})

    prompt: Prompts = Field(description="A text, token ids, both in one list, or a list of these.")


class Extra(BaseModel):
    filename: str = "file"
    text: str


class Infill(NativeSampling):
    """A gap to fill in."""

    model_config = example({"input_prefix": "def add(a, b):\n    ", "input_suffix": "\n\nprint(add(1, 2))", "n_predict": 50})

    input_prefix: str = Field(description="What stands before the gap.")
    input_suffix: str = Field(description="What stands after it.")
    input_extra: list[Extra] = Field(default_factory=list, description="Other files of the same project.")
    prompt: str = Field("", description="How the gap's text begins.")


class Tokenize(ForModel):
    content: str = Field(examples=["Once upon a time"])
    add_special: Flag = Field(False, description="Put the tokens around it that the model wants.")
    parse_special: Flag = Field(True, description="Whether special tokens in the text are these, and no text.")
    with_pieces: Flag = Field(False, description="Give each token's text, or its bytes where they are no text.")


class Detokenize(ForModel):
    tokens: list[Whole] = Field(examples=[[1, 403, 407]])
