"""The pocket model: a small chat model that ships with Heron and knows its commands (trained by training/pocket/train.py)."""

from __future__ import annotations

from pathlib import Path


def path() -> Path:
    """The packaged GGUF file, which `heron run` uses when no model is named."""
    return Path(__file__).with_name("pocket.gguf")
