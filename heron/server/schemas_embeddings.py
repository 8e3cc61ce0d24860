"""What clients send to embeddings."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from heron.server.body import Whole, example
from heron.server.parameters import PRIORITY
from heron.server.prompts import Prompts
from heron.server.schemas_chat import NO_MATTER
from heron.server.schemas_model import ForModel


class EmbeddingRequest(ForModel):
    """Texts whose vectors are wanted."""

    model_config = example({"input": ["Herons fish.", "Cats sleep."]})

    input: Prompts = Field(description="A text, token ids, or a list of these.")
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Whole | None = Field(None, description="Give the first so many numbers alone, at length 1 again.", ge=1)
    priority: Whole = PRIORITY

    @property
    def ignored(self) -> list[str]:
        return [name for name in self.unknown if name not in NO_MATTER]
