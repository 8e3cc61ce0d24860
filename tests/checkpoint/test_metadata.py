"""Typed getters over metadata from outside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from heron.checkpoint.metadata import Metadata, ValueType, describe
from heron.errors import CheckpointError

VALUES: dict[str, Any] = {
    "int": 7,
    "negative": -7,
    "huge": 1 << 200,
    "float": 0.5,
    "nan": float("nan"),
    "infinity": float("inf"),
    "bool": True,
    "text": "x",
    "none": None,
    "table": {"a": 1},
    "strings": ["a", "b"],
    "empty": [],
    "mixed": ["a", 1],
    "ints": np.array([1, -2], np.int32),
    "u64s": np.array([1, 2], np.uint64),
    "floats": np.array([0.5, 1.5], np.float32),
    "bools": np.array([True, False]),
    "json ints": [1, 2],
    "json floats": [0.5, 2],
    "json bools": [True, False],
    "two": np.array([0, 2], np.uint8),
}
ACCEPTED = {
    Metadata.integer: {"int": 7},
    Metadata.number: {"int": 7.0, "negative": -7.0, "float": 0.5},
    Metadata.text: {"text": "x"},
    Metadata.flag: {"bool": True},
    Metadata.table: {"table": {"a": 1}},
    Metadata.strings: {"strings": ["a", "b"], "empty": []},
    Metadata.integers: {"ints": [1, -2], "u64s": [1, 2], "json ints": [1, 2], "empty": [], "two": [0, 2]},
    Metadata.numbers: {
        "ints": [1, -2],
        "u64s": [1, 2],
        "floats": [0.5, 1.5],
        "json ints": [1, 2],
        "json floats": [0.5, 2],
        "empty": [],
        "two": [0, 2],
    },
    Metadata.flags: {"bools": [True, False], "json bools": [True, False], "empty": []},
}


@pytest.mark.parametrize("getter", ACCEPTED, ids=lambda g: g.__name__)
@pytest.mark.parametrize("key", VALUES)
def test_a_getter_takes_its_own_type_and_no_other(getter: Callable[..., Any], key: str) -> None:
    metadata = Metadata(VALUES, where="the file")
    if key in ACCEPTED[getter]:
        found = getter(metadata, key)
        assert (found.tolist() if isinstance(found, np.ndarray) else found) == ACCEPTED[getter][key]
    else:
        with pytest.raises(CheckpointError, match=f"the file: {key} (must be|is missing)"):
            getter(metadata, key)


@pytest.mark.parametrize("getter", ACCEPTED, ids=lambda g: g.__name__)
def test_missing_keys(getter: Callable[..., Any]) -> None:
    with pytest.raises(CheckpointError, match="absent is missing"):
        getter(Metadata(), "absent")
    assert getter(Metadata({"null": None}), "absent", None) is None
    assert getter(Metadata({"null": None}), "null", None) is None


def test_bounds() -> None:
    metadata = Metadata(VALUES)
    assert metadata.integer("negative", minimum=None) == -7
    with pytest.raises(CheckpointError, match="at least 8"):
        metadata.integer("int", minimum=8)


def test_a_value_for_each_layer() -> None:
    metadata = Metadata(VALUES)
    assert metadata.per_layer("int", 3) == [7, 7, 7]
    assert metadata.per_layer("u64s", 2) == [1, 2]
    assert metadata.per_layer("absent", 2, None) is None
    for key, layers in (("u64s", 3), ("ints", 2), ("negative", 2), ("text", 1), ("floats", 2)):
        with pytest.raises(CheckpointError, match="must be"):
            metadata.per_layer(key, layers)


def test_types_are_kept_by_copies_and_dropped_values_are_not_shown_whole() -> None:
    metadata = Metadata()
    metadata.set("n", 3, ValueType.UINT8)
    assert Metadata(metadata).types == {"n": ValueType.UINT8}
    assert len(describe("x" * 1000)) == 80
    assert describe(["a"] * 1000) == "an array of 1000 strings"
