"""A trained GPT-2 (it sorts letters) gives its published activations and logits."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import parity
import pytest

from heron.backends import native, reference
from heron.backends.base import Options
from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import build_model, load_families

#: Published name -> where it stands in the graph.
STAGES = {"x": "hidden:0", "block0": "hidden:1", "block1": "hidden:2", "block2": "hidden:3", "ln_f": "normed", "lm_head": "logits"}


@pytest.fixture(scope="module")
def published(shared: Path) -> dict[str, np.ndarray]:
    found: dict[str, Any] = json.loads((shared / "data/gpt-nano-sort/gpt-nano-sort-t0-partials.json").read_text())
    del found["config"]
    return {name: np.frombuffer(base64.b64decode(v["data"]), np.float32).reshape(v["shape"]) for name, v in found.items()}


@pytest.mark.parametrize("backend", [reference, native])
def test_published_logits(backend: Any, shared: Path, published: dict[str, np.ndarray]) -> None:
    if backend is native and not native.available():
        pytest.skip("the core is not compiled")
    load_families()
    model = build_model(Checkpoint(shared / "data/gpt-nano-sort"))
    runner = parity.Runner(model, lambda m, o: backend.prepare(m, options=o), Options(kv_dtype="f32"))
    tokens = published["idx"].astype(int)
    got = runner.step({s: row.tolist() for s, row in enumerate(tokens)}, want=tuple(STAGES.values()))
    for name, stage in STAGES.items():
        for s in range(len(tokens)):
            assert np.abs(got[s][stage] - published[name][s]).max() <= 1e-4, (name, s)
