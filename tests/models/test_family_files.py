"""Families are small, and what they share knows none of them."""

from __future__ import annotations

import re
from pathlib import Path
from statistics import median

import heron.models
from heron.models.registry import FAMILIES, load_families

MODELS = Path(heron.models.__file__).parent

#: Names of a method as well as of a family that is made of nothing else.
METHODS = {"mamba", "mamba2"}


def test_a_family_is_a_page() -> None:
    assert median(len(path.read_text().splitlines()) for path in (MODELS / "families").glob("[!_]*.py")) <= 60


def test_no_shared_code_names_a_family() -> None:
    load_families()
    names = re.compile(rf"\b({'|'.join(map(re.escape, FAMILIES.keys() - METHODS))})\b", re.IGNORECASE)
    for path in (*(MODELS / "blocks").glob("*.py"), *MODELS.glob("*coder*.py")):
        assert not (found := names.findall(path.read_text())), f"{path.name}: {found}"
