"""Heron runs language models: GGUF files and safetensors folders in, text out.

model = heron.load("model.gguf")
print(model.generate("Once upon a time", max_tokens=50).text)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from heron.checkpoint.checkpoint import Checkpoint
    from heron.engine.constrain import Constraint
    from heron.engine.engine import Engine
    from heron.engine.generation import Generation, Piece
    from heron.engine.loading import load
    from heron.engine.model import Model
    from heron.engine.sampling import SamplingParams
    from heron.errors import HeronError
    from heron.text.tokenizer import Tokenizer

__all__ = [
    "Checkpoint",
    "Constraint",
    "Engine",
    "Generation",
    "HeronError",
    "Model",
    "Piece",
    "SamplingParams",
    "Tokenizer",
    "__version__",
    "load",
]

_WHERE = {
    "Checkpoint": "heron.checkpoint.checkpoint",
    "Constraint": "heron.engine.constrain",
    "Engine": "heron.engine.engine",
    "Generation": "heron.engine.generation",
    "HeronError": "heron.errors",
    "Model": "heron.engine.model",
    "Piece": "heron.engine.generation",
    "SamplingParams": "heron.engine.sampling",
    "Tokenizer": "heron.text.tokenizer",
    "load": "heron.engine.loading",
}


def __getattr__(name: str) -> Any:
    """Import on first use, so that the command starts at once."""
    if name not in _WHERE:
        raise AttributeError(f"module 'heron' has no attribute {name!r}")
    import importlib

    if name == "Checkpoint":  # a HF folder is shown as GGUF by the families, which must have registered themselves
        importlib.import_module("heron.models.registry").load_families()
    return getattr(importlib.import_module(_WHERE[name]), name)
