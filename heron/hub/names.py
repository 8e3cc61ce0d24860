"""What a model is called: ORG/NAME on the hub, an alias of this package, and the quantization behind a colon."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from heron.errors import HubError
from heron.hub.choose import is_quantization

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
    first, *rest = re.sub(r"^(https://)?(hf\.co|huggingface\.co)/", "", text).split(":")
    if first.lower() in aliases():
        return _of_alias(first.lower(), rest)
    if len(rest) > 1 or not _REPOSITORY.fullmatch(first) or ".." in first or first.endswith(".gguf"):
        return None
    return Name(first, rest[0] if rest and rest[0] else None)


def _of_alias(alias: str, rest: list[str]) -> Name:
    sizes = aliases()[alias]
    if rest and rest[0].lower() in sizes:
        repository, rest = sizes[rest[0].lower()], rest[1:]
    else:
        repository = next(iter(sizes.values()))
    if len(rest) > 1 or (rest and not is_quantization(rest[0])):
        raise HubError(f"{alias} has no size {rest[0]!r}; there are {', '.join(sizes)}: {alias}:{next(iter(sizes))}")
    return Name(repository, rest[0] if rest else None)
