"""Heron runs language models."""

__version__ = "0.1.0"
