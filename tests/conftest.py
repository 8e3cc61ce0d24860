"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import device
import pytest
from coverage_table import pytest_addoption, pytest_configure, pytest_runtest_makereport, pytest_sessionfinish

__all__ = ["pytest_addoption", "pytest_configure", "pytest_runtest_makereport", "pytest_sessionfinish", "shared"]

device.use()
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of test data beside the project; tests that need it are skipped where it is absent."""
    if not (SHARED / "data").is_dir():
        pytest.skip("the shared test data are not beside the project")
    return SHARED
