"""How long a model stays that nobody asks: "5m", "1h30m", "90s", a number of seconds, "forever"."""

from __future__ import annotations

import math
import re
from typing import Annotated, Any

from pydantic import BeforeValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from heron.config import A_TIME, TIME
from heron.errors import RequestError

_UNITS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ms|[smhd]|)", re.ASCII)
_WANTED = f"give {A_TIME}"


def seconds(text: str | float) -> float:
    """Seconds, infinity for ever, which anything negative means too. A number without a unit is of seconds.

    Raises RequestError for what is no time.
    """
    if isinstance(text, (int, float)):
        found = float(max(-1, min(text, 10**9)))
    else:
        if not TIME.fullmatch(text):
            raise RequestError(f"keep_alive is {text!r:.40}; {_WANTED}", param="keep_alive")
        written = text.strip().lower().replace("forever", "-1")
        parts = _PART.findall(written.removeprefix("-"))
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
