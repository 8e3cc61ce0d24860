"""What a model is called: ORG/NAME on the hub, an alias of this package, and the quantization behind a colon."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from pathlib import Path

from heron.errors import HubError
from heron.hub.choose import is_quantization

#: A repository's page, as browsers show its address.
_PAGE = re.compile(r"^(?:https?://)?(?:www\.)?(?:hf\.co|huggingface\.co)/([^/]+/[^/]+?)(?:/tree/main)?/?$")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


@dataclass(frozen=True)
class Name:
    """A repository of the hub, and which of its models; None leaves the choice."""

    repository: str
    quantization: str | None = None

    def __str__(self) -> str:
        return self.repository + (f":{self.quantization}" if self.quantization else "")


@cache
def aliases() -> dict[str, dict[str, str]]:
    """Alias -> size -> repository; the first size is meant where none is named."""
    table: dict[str, dict[str, str]] = json.loads((Path(__file__).parent / "aliases.json").read_text(encoding="utf-8"))
    return table


def parse(text: str) -> Name | None:
    """ORG/NAME[:QUANT] or ALIAS[:SIZE][:QUANT]; None for what is neither, such as a path. The hub's address may come before it.

    Raises HubError for a size that an alias does not have.
    """
    text = _PAGE.sub(r"\1", text)
    first, *rest = text.split(":")
    if first.lower() in aliases():
        return _of_alias(first.lower(), rest)
    if len(rest) > 1 or not _REPOSITORY.fullmatch(first) or ".." in first or first.endswith(".gguf"):
        return None
    return Name(first, rest[0] if rest and rest[0] else None)


def nearest(text: str) -> str:
    """A hint of the alias that was perhaps meant, or nothing."""
    found = get_close_matches(text.partition(":")[0].lower(), aliases(), 1)
    return f"; did you mean {found[0]}?" if found else ""


def _of_alias(alias: str, rest: list[str]) -> Name:
    sizes = aliases()[alias]
    sized = bool(rest) and rest[0].lower() in sizes
    repository = sizes[rest[0].lower()] if sized else next(iter(sizes.values()))
    if sized:
        rest = rest[1:]
    if len(rest) > 1 or (rest and not sized and not is_quantization(rest[0])):
        raise HubError(f"{alias} has no size {rest[0]!r}; there are {', '.join(sizes)}: {alias}:{next(iter(sizes))}")
    return Name(repository, rest[0] if rest and rest[0] else None)
