"""File types give each tensor the format that llama.cpp gives it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from mixes_of_llama_cpp import CASES, KNOWN, ask, packed

from heron.errors import RequestError
from heron.quant.mixes import FILE_TYPES, assign, file_type, quantizes

MIXES = json.loads(KNOWN.read_text())


@pytest.mark.parametrize("name", CASES)
def test_formats_are_those_of_llama_cpp(name: str) -> None:
    case = CASES[name]
    assert len(MIXES[name]) >= 33
    for type, expected in MIXES[name].items():
        chosen = assign(type, case.shapes(), case.facts)
        assert packed({tensor: format for tensor, (format, _) in chosen.items()}) == expected, type


@pytest.mark.slow
@pytest.mark.parametrize("name", ["four queries to a key", "eight experts", "falcon"])
def test_llama_cpp_still_says_so(name: str, tmp_path: Path) -> None:
    pytest.importorskip("llama_cpp")
    assert ask(CASES[name], tmp_path) == MIXES[name]


def test_numbers_are_those_of_gguf_py() -> None:
    from gguf.constants import LlamaFileType

    names = {member.name.removeprefix("MOSTLY_").removeprefix("ALL_"): member.value for member in LlamaFileType}
    assert {name: number for name, (number, _) in FILE_TYPES.items() if name in names}.items() <= names.items()
    assert sum(name in names for name in FILE_TYPES) >= 33


def test_overrides_come_first() -> None:
    case = CASES["plain"]
    chosen = assign("Q4_K_M", case.shapes(), case.facts, [("attn_v", "q8_0"), (r"blk\.3\.", "F16")])
    assert {chosen[f"blk.{i}.attn_v.weight"][0] for i in range(16)} == {"Q8_0"}  # the first that fits
    assert chosen["blk.3.ffn_up.weight"] == ("F16", "asked for") and chosen["blk.4.ffn_up.weight"] == ("Q4_K", "")
    with pytest.raises(RequestError, match="no tensor that is quantized"):
        assign("Q4_K_M", case.shapes(), case.facts, [("attn_z", "Q8_0")])
    with pytest.raises(RequestError, match="no tensor format"):
        assign("Q4_K_M", case.shapes(), case.facts, [("attn_v", "Q9")])


def test_names() -> None:
    assert file_type("q4_k_m") == "Q4_K_M" and file_type("q4-k") == "Q4_K_M" and file_type("fp16") == "F16"
    with pytest.raises(RequestError, match="there are F32, F16"):
        file_type("Q4_K_XL")


@pytest.mark.parametrize("name", ["blk.0.attn_norm.weight", "blk.0.ffn_gate_inp.weight", "blk.0.ssm_conv1d.weight", "blk.0.attn_q.bias"])
def test_what_is_small_stays(name: str) -> None:
    assert not quantizes(name, (64, 64)) and quantizes("blk.0.attn_q.weight", (64, 64)) and not quantizes("blk.0.x.weight", (64,))
