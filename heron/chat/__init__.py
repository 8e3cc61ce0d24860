"""Talking with a model in a terminal: `heron chat`, and `heron run` without a prompt."""
