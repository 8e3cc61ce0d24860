"""What a report may not show: secrets, and whose home it is."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from math import isfinite
from typing import Any

from heron.config import SETTINGS

#: Variables whose values may be shown; of all others it is told that they are set.
SHOWN = frozenset(
    {setting.variable for setting in SETTINGS if not setting.secret}
    | {"HERON_ISA", "HERON_FUSE", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}
    | {"HF_ENDPOINT", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "CUDA_VISIBLE_DEVICES", "TRITON_INTERPRET"}
    | {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"}
)

_SECRET = re.compile(r"KEY|TOKEN|SECRET|PASS|CREDENTIAL|AUTH", re.IGNORECASE)

#: Names and passwords in URLs.
_USER = re.compile(r"(\w+://)[^/\s@]+@")

#: Shorter ones are words that occur anyhow.
_LEAST = 6


def secrets(environment: Mapping[str, str]) -> list[str]:
    """What is secret by its name in the environment, whole and in parts."""
    values = {value for name, value in environment.items() if _SECRET.search(name) and name not in SHOWN}
    return [part for value in values for part in (value, *value.replace(",", " ").split())]


class Hiding:
    """Texts without secrets, and with ``~`` for the home folder."""

    def __init__(self, hidden: Iterable[str], home: str | None = None) -> None:
        self._hidden = sorted({text for text in hidden if len(text) >= _LEAST}, key=len, reverse=True)
        self._home = os.path.expanduser("~") if home is None else home

    def text(self, text: str) -> str:
        for secret in self._hidden:
            text = text.replace(secret, "***")
        text = _USER.sub(r"\1***@", text)
        return re.sub(rf"(?<![\w.-]){re.escape(self._home)}(?![\w.-])", "~", text) if len(self._home) > 1 else text

    def all(self, value: Any) -> Any:
        """The same of every text in what is to be JSON, which has no infinities."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, float) and not isfinite(value):
            return None
        if isinstance(value, dict):
            return {self.text(str(key)): self.all(each) for key, each in value.items()}
        return [self.all(each) for each in value] if isinstance(value, (list, tuple)) else value
