"""How long a model stays that nobody asks: "5m", "1h30m", "90s", a number of seconds, "forever"."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from heron.errors import RequestError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)"
_PART = re.compile(_NUMBER + r"(ms|[smhd]|)")
_TIME = re.compile(f"-?({_NUMBER}(ms|[smhd]))+|-?{_NUMBER}")
_WANTED = 'give a time such as "5m", "30s" or "1h30m", a number of seconds, or "forever"'


def seconds(text: str | float) -> float:
    """Seconds, infinity for ever, which anything negative means too. A number without a unit is of seconds.

    Raises RequestError for what is no time.
    """
    if isinstance(text, (int, float)):
        found = float(max(-1, min(text, 10**9)))
    else:
        written = text.strip().lower().replace("forever", "-1")
        parts = _PART.findall(written.removeprefix("-"))
        if not _TIME.fullmatch(written):
            raise RequestError(f"keep_alive is {text!r:.40}; {_WANTED}", param="keep_alive")
        found = sum(float(number) * _UNITS[unit] for number, unit in parts) * (-1 if written.startswith("-") else 1)
    return math.inf if found < 0 else found


def _seconds(value: Any) -> float:
    """Of a request's body, where it stands as a number or a text."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise PydanticCustomError("keep_alive", _WANTED)
    try:
        return seconds(value)
    except RequestError:
        raise PydanticCustomError("keep_alive", _WANTED) from None


#: In a request's body. JSON has no infinity, and so none is checked for here.
KeepAlive = Annotated[
    Any, BeforeValidator(_seconds), WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "number"}], "examples": ["5m"]})
]
