"""Lines over a few named points, side by side, as an SVG image written by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

COLOURS = ("#1f6feb", "#d1571f", "#2f9e44", "#8250df")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 360, 260, 56, 34, 44


@dataclass
class Panel:
    """``lines``: name -> a value for each of the ``points``, None where it was not measured; a band is (lowest, highest) around it."""

    title: str
    points: Sequence[str]
    lines: dict[str, list[float | None]] = field(default_factory=dict)
    bands: dict[str, list[tuple[float, float] | None]] = field(default_factory=dict)

    def svg(self, x: int) -> str:
        highest = max([v for values in self.lines.values() for v in values if v is not None], default=1.0)
        highest = max([highest, *(band[1] for bands in self.bands.values() for band in bands if band)]) * 1.05 or 1.0
        right, floor = WIDTH - 12, HEIGHT - BOTTOM

        def across(at: int) -> float:
            return LEFT + (right - LEFT) * (at + 0.5) / len(self.points)

        def up(value: float) -> float:
            return floor - (floor - TOP) * value / highest

        parts = [f'<g transform="translate({x},0)">', _text(LEFT, 18, self.title, "start", 'font-weight="bold"')]
        for quarter in range(5):
            y = up(highest * quarter / 4)
            parts.append(f'<line x1="{LEFT}" x2="{right}" y1="{y:.1f}" y2="{y:.1f}" stroke="#ddd"/>')
            parts.append(_text(LEFT - 6, y + 4, f"{highest * quarter / 4:.3g}", "end"))
        parts += [_text(across(at), floor + 16, point, "middle") for at, point in enumerate(self.points)]
        for number, (name, values) in enumerate(self.lines.items()):
            colour = COLOURS[number % len(COLOURS)]
            for at, band in enumerate(self.bands.get(name, [])):
                if band:
                    shift = across(at) + 3 * (number - (len(self.lines) - 1) / 2)
                    ends = f'x1="{shift:.1f}" x2="{shift:.1f}" y1="{up(band[0]):.1f}" y2="{up(band[1]):.1f}"'
                    parts.append(f'<line {ends} stroke="{colour}" stroke-width="2" opacity="0.4"/>')
            found = [(across(at), up(value)) for at, value in enumerate(values) if value is not None]
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in found)
            parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{colour}"/>' for a, b in found]
            parts.append(_text(LEFT + number * 100, HEIGHT - 8, name, "start", f'fill="{colour}"'))
        return "\n".join([*parts, "</g>"])


def _text(x: float, y: float, text: str, anchor: str, more: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" {more}>{escape(text)}</text>'


def svg(panels: Sequence[Panel]) -> str:
    size = f'width="{WIDTH * len(panels)}" height="{HEIGHT}"'
    inner = "\n".join(panel.svg(WIDTH * at) for at, panel in enumerate(panels))
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">'
    return f'{head}\n<rect {size} fill="white"/>\n{inner}\n</svg>\n'
