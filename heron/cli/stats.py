"""What `--stats` prints at the end of a run."""

from __future__ import annotations

import sys

from heron.engine.memory import peak_bytes
from heron.engine.model import Model


def report(model: Model) -> None:
    """Times, speeds, memory of the last answer, on stderr."""
    t, own = model.timings, model.graph_model.context_length
    rows = [
        ("load", f"{model.load_seconds:.2f} s"),
        ("prompt", _speed(t.prompt_tokens, t.prompt_seconds) + (f", {t.cached_tokens} tokens from the cache" if t.cached_tokens else "")),
        ("decode", _speed(t.decoded_tokens, t.decode_seconds)),
        ("first token", f"{t.first_token_seconds * 1000:.0f} ms"),
        ("memory", f"{peak_bytes() / 2**20:.0f} MiB at most"),
        ("context", f"{model.context_length} tokens" + (f", reduced from the model's {own} tokens" if model.context_length < own else "")),
        ("backend", model.backend + ("" if model.device == "cpu" else f" on {model.device}")),
        ("seed", str(model.seed)),
    ]
    for name, value in rows:
        print(f"{name:>12}: {value}", file=sys.stderr)


def _speed(tokens: int, seconds: float) -> str:
    return f"{tokens} tokens in {seconds:.2f} s" + (f", {tokens / seconds:.1f} tokens/s" if seconds > 0 and tokens else "")
