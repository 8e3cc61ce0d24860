"""What quantizations of a model lose and gain: size, divergence from the model that they were made of, speed; as rows, and as a plot."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any

from heron.engine.bench import Bench
from heron.engine.model import Model
from heron.evaluate.perplexity import Measured, measure
from heron.evaluate.windows import Window

#: Tokens of the prompt that is read, and that are decoded after it, for the speeds; each so many times.
PROMPT, GENERATE, REPETITIONS = 128, 32, 3


@dataclass(frozen=True)
class Row:
    """One file: ``kl`` and ``kl_error`` in nats a token, ``top_agreement`` of 1, ``decode`` and ``prefill`` in tokens/s."""

    name: str
    bytes: int
    bits: float
    perplexity: float
    kl: float
    kl_error: float
    top_agreement: float
    decode: float
    prefill: float

    def facts(self) -> dict[str, Any]:
        return asdict(self)


def report(
    base: Model, files: Sequence[tuple[str, Path]], opened: Callable[[Path], Model], windows: Sequence[Window], done: Callable[[], Any]
) -> Iterator[Row]:
    """A row for each file (name, path), beside ``base``, the model that they were made of. ``done`` is called after each window."""
    for name, path in files:
        model = opened(path)
        try:
            measured = Measured()
            for measured in measure(model, windows, base):  # noqa: B007 (the last one counts)
                done()
            away, own = measured.divergence, measured.likelihood
            assert away is not None
            speeds = _speeds(model)
            tensors = model.checkpoint.tensors.values()
            size = sum(tensor.nbytes for tensor in tensors)
            bits = 8 * size / sum(tensor.size for tensor in tensors)
            yield Row(name, size, bits, own.perplexity, away.mean, away.error, away.top_agreement, *speeds)
        finally:
            model.close()


def _speeds(model: Model) -> tuple[float, float]:
    """Decode and prefill, the best of a few: the others' excess is the machine's."""
    context = min(PROMPT + GENERATE, model.context_length)
    bench = Bench(model, context, 1)
    bench.warm()
    found = {s.kind: max(s.each) for s in bench.measure(context - GENERATE, [GENERATE], 1, REPETITIONS, lambda: None)}
    return found["decode"], found["prefill"]


WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 420, 64, 110, 40, 48


def plot(rows: Sequence[Row], title: str) -> str:
    """An SVG image: divergence (logarithmic) over bits a weight, a named point for each row."""
    least, most = (f(row.bits for row in rows) for f in (min, max))
    low, high = (f(math.log10(max(row.kl, 1e-7)) for row in rows) for f in (min, max))
    low, high, least, most = math.floor(low), math.ceil(high + 1e-9), math.floor(least), math.ceil(most)
    right, floor = WIDTH - RIGHT, HEIGHT - BOTTOM

    def across(bits: float) -> float:
        return LEFT + (right - LEFT) * (bits - least) / max(1, most - least)

    def up(exponent: float) -> float:
        return floor - (floor - TOP) * (exponent - low) / max(1, high - low)

    parts = [_text(LEFT, 22, title, "start", 'font-weight="bold"')]
    for exponent in range(low, high + 1):
        parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{up(exponent):.1f}" y2="{up(exponent):.1f}" stroke="#ddd"/>')
        parts.append(_text(LEFT - 6, up(exponent) + 4, f"{10.0**exponent:g}", "end"))
    parts += [_text(across(bits), floor + 18, str(bits), "middle") for bits in range(least, most + 1)]
    parts.append(_text((LEFT + right) / 2, HEIGHT - 8, "bits a weight", "middle"))
    parts.append(_text(LEFT, 36, "divergence from the original, nats a token", "start", 'fill="#666"'))
    for row in rows:
        x, y = across(row.bits), up(math.log10(max(row.kl, 1e-7)))
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f6feb"/>', _text(x + 6, y + 4, row.name, "start")]
    size = f'width="{WIDTH}" height="{HEIGHT}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    return "\n".join([head, f'<rect {size} fill="white"/>', *parts, "</svg>"]) + "\n"


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'
