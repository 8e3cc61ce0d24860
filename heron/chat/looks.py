"""How answers are shown."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Looks:
    """``markdown``: as Markdown means them. ``stats``: with a line about times and speeds, to begin with."""

    markdown: bool = True
    hide_reasoning: bool = False
    stats: bool = False
