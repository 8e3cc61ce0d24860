"""JSON that may be anything, as an object (or a list) or a CheckpointError."""

from __future__ import annotations

import json
from math import inf, nan
from pathlib import Path
from typing import Any, TypeVar

from heron.errors import CheckpointError

# The configuration of a model takes kilobytes, the index of a thousand shards a few megabytes.
MAX_BYTES = 64 << 20

# JSON has no names for these; transformers writes {"__float__": "Infinity"}.
_SPECIAL = {"Infinity": inf, "-Infinity": -inf, "NaN": nan}

Parsed = TypeVar("Parsed", dict[str, Any], list[Any])


def parse_object(raw: bytes, where: str) -> dict[str, Any]:
    """The JSON object in `raw`. `where` names it in errors.

    Raises CheckpointError for anything else: not JSON, another type, a name given twice, nesting too deep.
    """
    return _parse(raw, where, dict)


def _parse(raw: bytes, where: str, kind: type[Parsed]) -> Parsed:
    def unique(pairs: list[tuple[str, Any]]) -> Any:
        if len(pairs) == 1 and pairs[0][0] == "__float__" and isinstance(pairs[0][1], str) and pairs[0][1] in _SPECIAL:
            return _SPECIAL[pairs[0][1]]
        found: dict[str, Any] = {}
        for name, value in pairs:
            if name in found:
                raise CheckpointError(f"{where}: the name {name!r:.80} occurs twice in one object; download or convert the file again")
            found[name] = value
        return found

    try:
        value = json.loads(raw.decode(), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:  # ValueError: not UTF-8, not JSON, or an integer of thousands of digits
        raise CheckpointError(f"{where}: this is not JSON ({error}); download or convert the file again") from None
    if not isinstance(value, kind):
        wanted = "an object" if kind is dict else "a list"
        raise CheckpointError(f"{where}: this is a JSON {type(value).__name__} where {wanted} must be; download or convert the file again")
    return value


def read_object(path: Path) -> dict[str, Any]:
    """The JSON object that the file holds. Raises CheckpointError as `parse_object`, and when it cannot be read."""
    return _read(path, dict)


def read_list(path: Path) -> list[Any]:
    """The JSON list that the file holds. Raises CheckpointError as `read_object`."""
    return _read(path, list)


def _read(path: Path, kind: type[Parsed]) -> Parsed:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{path}: {path.stat().st_size} bytes are too many for a JSON file of a model (at most {MAX_BYTES})")
        return _parse(path.read_bytes(), str(path), kind)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read ({error.strerror or error}); check the path and its permissions") from None
