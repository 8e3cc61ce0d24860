"""The formats that GGUF has not: their numbers by definition, by torch's types and by hand; and that no GGUF file holds them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from random_blocks import random_rows

from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor
from heron.errors import CheckpointError
from heron.quant.decode_own import E4M3, E5M2, E8M0
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS, by_id

OWN = sorted(name for name, fmt in FORMATS.items() if not fmt.in_gguf)


@pytest.mark.parametrize(("table", "dtype"), [(E4M3, "float8_e4m3fn"), (E5M2, "float8_e5m2"), (E8M0, "float8_e8m0fnu")])
def test_tables_of_bytes_are_torchs(table: np.ndarray, dtype: str) -> None:
    theirs = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(table, theirs)


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("group", [32, 64, 128])
def test_affine_codes_lie_in_runs_of_32(bits: int, group: int) -> None:
    """Element e of a run: of 8 bits byte e; of 4 byte e % 16; of 2 and 3 byte e % 8, and the third bit in byte e % 4."""
    fmt, rng = FORMATS[f"U{bits}_{group}"], np.random.default_rng(bits)
    codes = rng.integers(0, 1 << bits, group)
    block = np.zeros(1, fmt.layout)
    block["d"], block["m"] = 0.5, -3.25
    for element, code in enumerate(codes.tolist()):
        run, e = divmod(element, 32)
        if bits == 8:
            block["qs"][0, element] = code
        elif bits == 4:
            block["qs"][0, 16 * run + e % 16] |= code << 4 * (e // 16)
        else:
            block["qs"][0, 8 * run + e % 8] |= (code & 3) << 2 * (e // 8)
        if bits == 3:
            block["qh"][0, 4 * run + e % 4] |= (code >> 2) << e // 4
    np.testing.assert_array_equal(dequantize(fmt, block.view(np.uint8)), 0.5 * codes - 3.25)


@pytest.mark.parametrize("name", OWN)
def test_no_gguf_file_holds_them(name: str, tmp_path: Path) -> None:
    fmt = FORMATS[name]
    with pytest.raises(CheckpointError, match="not a tensor format"):
        by_id(fmt.id)
    with pytest.raises(CheckpointError, match="not a tensor format"):
        by_id(fmt.id & 0xFFFFFFFF)
    rows = random_rows(fmt, 2, 2 * fmt.block, np.random.default_rng(0))
    tensor = MappedTensor(rows.reshape(-1), (2, 2 * fmt.block), fmt)
    with pytest.raises(CheckpointError, match=f"'a.weight' is {name}, which GGUF files cannot hold"):
        write_gguf(tmp_path / "x.gguf", {"general.architecture": "llama"}, {"a.weight": tensor})
    assert not list(tmp_path.iterdir())
