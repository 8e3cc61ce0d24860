"""JSON schemas as they are given to llguidance: parsed, and with formats as strict as their definitions."""

from __future__ import annotations

import json
from typing import Any

from heron.errors import RequestError

#: llguidance lets leap seconds pass at any minute (RFC 3339, 5.7), and local parts of more than 64 characters (RFC 5321, 4.5.3.1):
#: what is asked for beside a format, or in its place.
_BESIDE = {"time": r"^[0-9]{2}:[0-9]{2}:[0-5]", "date-time": r"^.{11}[0-9]{2}:[0-9]{2}:[0-5]"}
_ATOM, _LABEL = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]", r"[A-Za-z0-9]([A-Za-z0-9-]{0,38}[A-Za-z0-9])?"
_LOCAL = rf"{_ATOM}{{1,64}}|{_ATOM}{{1,31}}\.{_ATOM}{{1,32}}|{_ATOM}{{1,20}}(\.{_ATOM}{{1,20}}){{2}}"
_INSTEAD = {"email": rf"^({_LOCAL})@({_LABEL}\.){{1,4}}{_LABEL}$"}
#: Keywords whose values are data, and such whose values are schemas by names.
_DATA = frozenset({"const", "enum", "default", "examples"})
_NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"})


def prepared(text: str) -> dict[str, Any]:
    """The schema of a text. Raises RequestError for what is no JSON schema, and for ``false``, by which nothing is valid."""
    try:
        schema = json.loads(text, parse_constant=_no_number)
    except RecursionError:
        raise RequestError("the JSON schema is nested too deeply") from None
    except ValueError as error:
        raise RequestError(f"the JSON schema is no JSON: {error}") from None
    if isinstance(schema, bool):
        if not schema:
            raise RequestError("the JSON schema is false, so that no text satisfies it")
        return {}
    if not isinstance(schema, dict):
        raise RequestError(f"the JSON schema is {text!r:.40}; give an object")
    todo: list[Any] = [schema]
    while todo:
        one = todo.pop()
        if isinstance(one, list):
            todo += one
        elif isinstance(one, dict):
            for key, value in one.items():
                if key not in _DATA:
                    todo += value.values() if key in _NAMED and isinstance(value, dict) else [value]
            _sharpen(one)
    return schema


def _sharpen(schema: dict[str, Any]) -> None:
    kind = schema.get("format")
    if not isinstance(kind, str) or kind not in _BESIDE | _INSTEAD:
        return
    if kind in _INSTEAD:
        del schema["format"]
    others = schema.get("allOf", [])
    schema["allOf"] = [*(others if isinstance(others, list) else []), {"pattern": (_BESIDE | _INSTEAD)[kind]}]


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON's")
