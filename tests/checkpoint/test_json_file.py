"""Numbers that JSON has no name for, as transformers and Python write them."""

from __future__ import annotations

import json
import math

import pytest

from heron.checkpoint.json_file import parse_object


@pytest.mark.parametrize(
    ("text", "value"),
    [('{"__float__": "Infinity"}', math.inf), ('{"__float__": "-Infinity"}', -math.inf), ("Infinity", math.inf), ("-Infinity", -math.inf)],
)
def test_infinity(text: str, value: float) -> None:
    assert parse_object(b'{"limit": [0.0, %s]}' % text.encode(), "here") == {"limit": [0.0, value]}


def test_not_a_number() -> None:
    assert math.isnan(parse_object(b'{"x": {"__float__": "NaN"}}', "here")["x"])


@pytest.mark.parametrize("value", [{"__float__": "1"}, {"__float__": ["Infinity"]}, {"__float__": "Infinity", "more": 1}])
def test_other_objects_stay_objects(value: dict[str, object]) -> None:
    assert parse_object(json.dumps({"x": value}).encode(), "here") == {"x": value}
