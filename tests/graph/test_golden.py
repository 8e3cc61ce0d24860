"""Each family's graph, as printed, equals the stored dump: a change of any graph is seen and meant.

``HERON_GOLDEN=write python -m pytest tests/graph/test_golden.py`` writes the dumps anew.
"""

from __future__ import annotations

import os
from pathlib import Path

import parity
import pytest
from tiny_models import ENCODERS, EVERY

from heron.checkpoint.checkpoint import Checkpoint
from heron.models.registry import build_model

GOLDEN = Path(__file__).parent / "golden"
FAMILIES = (
    *("llama", "llama3", "mistral", "mixtral", "qwen2", "qwen3", "qwen3moe", "gemma3", "qwen3next", "deepseek2", *ENCODERS),
    *("gemma", "gemma2", "granite", "granitemoe-shared", "olmo2", "olmo3", "olmoe", "smollm3", "ernie4_5", "exaone4"),
    *("phi3", "phi3-long", "glm4"),
    *("starcoder2", "phi2", "gptneox", "gptneox-in-turn", "gpt2", "stablelm", "stablelm-12b", "nemotron", "command-r"),
    *("command-r-plus", "cohere2", "falcon", "falcon-40b", "bloom", "mpt-clipped"),
    *("mamba", "mamba-biased", "falcon-mamba", "mamba2", "mamba2-biased", "mamba2-limited"),
    *("qwen2moe", "qwen2moe-dense", "gpt-oss"),
)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_printed_graph_is_as_stored(name: str, tmp_path: Path) -> None:
    if name in ENCODERS:
        config, auto, _ = ENCODERS[name]()
        parity.tiny(config, tmp_path, auto=auto)
    else:
        parity.tiny(EVERY[name](), tmp_path)
    model = build_model(Checkpoint(tmp_path))
    printed = "\n".join(str(graph) for graph in model.entries.values()) + "\n"
    path = GOLDEN / f"{name}.txt"
    if os.environ.get("HERON_GOLDEN") == "write":
        path.parent.mkdir(exist_ok=True)
        path.write_text(printed)
    assert printed == path.read_text()
