"""What a body must be before anything reads it: one JSON text, strictly, and not nested without end."""

from __future__ import annotations

from typing import Any

import msgspec

from heron.server.errors import ApiError

#: Brackets that a body may open, those within texts counted too. An object takes twenty times the room of its text, and no prompt
#: that fits in a context has so many.
BRACKETS = 1_000_000


def check(body: bytes, most: int) -> None:
    """Raises ApiError 400 for what is not JSON in UTF-8 (NaN, Infinity and lone surrogates are not) or is nested deeper than ``most``."""
    if body.count(b"[") + body.count(b"{") > BRACKETS:
        raise ApiError(400, f"the body opens more than {BRACKETS} brackets", code="too_many_values")
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise _too_deep(most) from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(400, f"the body is not valid JSON: {error}", code="invalid_json") from None
    if _deeper(value, most):
        raise _too_deep(most)


def _deeper(value: Any, most: int) -> bool:
    level = [[value]]
    for _ in range(most + 1):
        inner = [value for values in level for value in values if isinstance(value, (dict, list))]
        if not inner:
            return False
        level = [list(value.values()) if isinstance(value, dict) else value for value in inner]
    return True


def _too_deep(most: int) -> ApiError:
    return ApiError(400, f"the body is nested more than {most} levels deep", code="nested_too_deeply")
