"""How weights come from files into memory: packed, used where they are, read without a mapping, locked."""

from __future__ import annotations

import ctypes
import json
import mmap
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tiny_gguf import heron as command
from tiny_gguf import vocabulary

import heron
from heron.backends import native
from heron.backends.native import weights
from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_writer import write_gguf
from heron.checkpoint.tensor import MappedTensor
from heron.errors import CheckpointError, RequestError
from heron.quant.formats import FORMATS
from heron.quant.quantize import quantize

pytestmark = pytest.mark.skipif(not native.available(), reason="no compiled core")

TOKENS = [1, *range(4, 45)]


def write_llama(path: Path, fmt: str, vocab: int = 50, ff: int = 96, hidden: int = 64, layers: int = 2, experts: int = 0) -> Path:
    """A llama with random weights; the rows of its matrices fill no panel."""
    random = np.random.default_rng(7)

    def matrix(*shape: int) -> MappedTensor:
        values = random.standard_normal(shape, np.float32) / np.float32(np.sqrt(shape[-1]))
        return MappedTensor(quantize(FORMATS[fmt], values).reshape(-1), shape, FORMATS[fmt])

    tensors: dict[str, Any] = {"output_norm.weight": np.ones(hidden, np.float32)}
    of_experts, stack = ("_exps", (experts,)) if experts else ("", ())
    for i in range(layers):
        tensors |= {f"blk.{i}.{name}_norm.weight": np.ones(hidden, np.float32) for name in ("attn", "ffn")}
        tensors |= {f"blk.{i}.attn_{name}.weight": matrix(hidden, hidden) for name in ("q", "k", "v", "output")}
        tensors |= {f"blk.{i}.ffn_{name}{of_experts}.weight": matrix(*stack, ff, hidden) for name in ("gate", "up")}
        tensors[f"blk.{i}.ffn_down{of_experts}.weight"] = matrix(*stack, hidden, ff)
        if experts:
            tensors[f"blk.{i}.ffn_gate_inp.weight"] = random.standard_normal((experts, hidden), np.float32)
    tensors["token_embd.weight"] = matrix(vocab, hidden)
    settings = {"block_count": layers, "context_length": 128, "embedding_length": hidden, "feed_forward_length": ff}
    settings |= {"attention.head_count": 4, "attention.head_count_kv": 4, "rope.dimension_count": hidden // 4}
    settings |= {"expert_count": experts, "expert_used_count": 2} if experts else {}
    metadata: dict[str, Any] = {"general.architecture": "llama", "llama.attention.layer_norm_rms_epsilon": 1e-5}
    write_gguf(path, metadata | {f"llama.{key}": value for key, value in settings.items()} | vocabulary(vocab), tensors)
    return path


def logits(path: Path, **options: Any) -> tuple[np.ndarray, int]:
    """Of many tokens in one step and of the next alone; and the bytes of the weights."""
    model = heron.load(path, threads=2, **options)
    try:
        many = model.logits(TOKENS)
        few = model.executable.run("forward", model._sequence.append([7], [0]))["logits"]
        return np.concatenate([many, few]), model.executable.memory()["weights"]
    finally:
        model.close()


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("fmt", ["Q4_0", "Q8_0", "F16", "F32"])
def test_weights_in_the_file_give_the_same_bits_without_a_copy(tmp_path: Path, fmt: str, experts: int) -> None:
    path = write_llama(tmp_path / "model.gguf", fmt, experts=experts)
    packed, copied = logits(path)
    in_place, kept = logits(path, repack=False)
    assert np.array_equal(packed, in_place)
    assert kept < copied / 10


@pytest.mark.parametrize("experts", [0, 3])
@pytest.mark.parametrize("fmt", ["Q4_0", "Q8_0", "F16", "F32"])
def test_the_first_step_does_not_wait_for_packing_and_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fmt: str, experts: int
) -> None:
    path = write_llama(tmp_path / "model.gguf", fmt, experts=experts)
    with monkeypatch.context() as patch:
        gate = threading.Event()
        pack = weights._Job.run
        patch.setattr(weights._Job, "run", lambda job: gate.wait() and pack(job))
        model = heron.load(path, threads=2)
        try:
            assert model.executable.to_come > 0
            early = model.logits(TOKENS)
            assert model.executable.to_come > 0
            gate.set()
            late = model.executable.run("forward", model._sequence.append([7], [0]))["logits"]
            assert model.executable.to_come == 0
            assert model.executable.memory()["weights"] > 0
        finally:
            gate.set()
            model.close()
    many, _ = logits(path)
    assert np.array_equal(np.concatenate([early, late]), many)


def test_steps_come_in_between_while_packing_goes_on(tmp_path: Path) -> None:
    """A model that is closed, or used, at any moment of packing."""
    path = write_llama(tmp_path / "model.gguf", "Q8_0", vocab=4096, ff=2048, hidden=512, layers=3)
    expected = None
    for pause in (0.0, 0.001, 0.003, 0.01):
        model = heron.load(path, threads=2)
        time.sleep(pause)
        found = model.logits(TOKENS)
        assert expected is None or np.array_equal(found, expected)
        expected = found
        model.close()
        heron.load(path, threads=2).close()


@pytest.mark.parametrize("fmt", ["Q4_0", "F16"])
def test_files_that_are_read_give_the_same_bits(tmp_path: Path, fmt: str) -> None:
    path = write_llama(tmp_path / "model.gguf", fmt)
    assert np.array_equal(logits(path)[0], logits(path, mmap=False)[0])


def test_a_file_that_is_read_is_not_mapped_and_may_not_shrink(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf", "Q4_0")
    with Checkpoint(path, mmap=False) as read, Checkpoint(path) as mapped:
        for name, tensor in mapped.tensors.items():
            other = read.tensors[name]
            assert (other.shape, other.format, other.in_place()) == (tensor.shape, tensor.format, None)
            assert np.array_equal(other.rows(), tensor.rows())
            assert np.array_equal(other.rows(1, 2), tensor.rows(1, 2))
        last = read.tensors["token_embd.weight"]
        path.write_bytes(path.read_bytes()[:-64])  # more than the padding
        with pytest.raises(CheckpointError, match="shorter"):
            last.rows()


def test_weights_are_either_copied_or_mapped(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="mmap is needed"):
        heron.load(tmp_path, mmap=False, repack=False)


def test_the_command_takes_the_options(tmp_path: Path) -> None:
    line = ["run", write_llama(tmp_path / "model.gguf", "Q4_0"), "--raw", "-t", "0", "-n", "6", "-p", "abc"]
    said = command(*line)
    assert [command(*line, option) for option in ("--no-mmap", "--no-repack", "--mlock")] == [said] * 3


def test_an_error_while_packing_reaches_the_caller(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from heron.checkpoint.tensor import StoredTensor

    def fail(self: StoredTensor, start: int = 0, stop: int | None = None) -> None:
        raise CheckpointError("the disk is gone")

    path = write_llama(tmp_path / "model.gguf", "Q4_0")
    rows = StoredTensor.rows
    monkeypatch.setattr(StoredTensor, "rows", lambda self, start=0, stop=None: rows(self, start, stop) if self.ndim == 1 else fail(self))
    with pytest.raises(CheckpointError, match="the disk is gone"):
        heron.load(path, mmap=False)


@pytest.mark.skipif(sys.platform != "linux", reason="maps at given addresses")
def test_packing_columns_leaves_alone_what_lies_behind_the_file(tmp_path: Path) -> None:
    """The last rows of a slice of columns end before the file does, by a part of a row: what follows it must not be released."""
    from heron import _core
    from heron.backends.native.weights import _is_mapped
    from heron.checkpoint.views import AxisSlice

    rows, k, pages = 16, 1 << 14, 16
    path = tmp_path / "rows"
    values = np.random.default_rng(0).standard_normal((rows, k), np.float32)
    path.write_bytes(values.tobytes())
    size = path.stat().st_size
    both = mmap.mmap(-1, size + pages * mmap.PAGESIZE)  # reserves addresses: the file, then memory that is ours
    address = ctypes.addressof(ctypes.c_char.from_buffer(both))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    with path.open("rb") as file:
        fixed = mmap.MAP_PRIVATE | 0x10
        assert libc.mmap(address, size, mmap.PROT_READ, fixed, file.fileno(), 0) == address
    assert libc.mmap(address + size, pages * mmap.PAGESIZE, mmap.PROT_READ | mmap.PROT_WRITE, fixed | mmap.MAP_ANONYMOUS, -1, 0)
    whole = np.frombuffer(both, np.uint8)
    behind = whole[size:]
    behind[:] = 7
    columns = AxisSlice(MappedTensor(whole[:size], (rows, k), FORMATS["F32"]), 1, k // 2, k)
    runtime, packing = _core.Runtime(1), _core.Packing()
    weight = _core.Weight(runtime, "w", [rows, k // 2], FORMATS["F32"].id)
    at = columns.in_place()
    assert at is not None and _is_mapped(at)
    packing.add(weight, 0, at)
    packing.run(runtime)
    weight.pack_rows(0, 0, at, True)
    assert (behind == 7).all()


# What this process may lock, and how much memory it has held, are a process's own.

LOCKED = """
import ctypes, json, resource, sys, warnings
import heron
if sys.argv[2] == "refused":
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))
    # No capabilities: those of root would lift the limit.
    head, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    assert ctypes.CDLL(None).capset(head, none) == 0
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    model = heron.load(sys.argv[1], mlock=True, threads=1)
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([model.executable.memory()["weights"], int(status["VmLck"].split()[0]) * 1024, [str(w.message) for w in caught]]))
"""

PEAK = """
import sys
import heron.engine.model, heron.text.tokenizer, heron.backends.native.executable
from heron.models.registry import load_families
load_families()
import heron
def kilobytes(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
open("/proc/self/clear_refs", "w").write("5")  # the peak begins here
before = kilobytes("VmRSS")
model = heron.load(sys.argv[1], threads=2)
print((kilobytes("VmHWM") - before) * 1024, model.executable.memory()["weights"])
"""


def child(code: str, *args: str | Path) -> str:
    return subprocess.run([sys.executable, "-c", code, *map(str, args)], capture_output=True, check=True, timeout=60).stdout.decode()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("allowed", [True, False])
def test_locked_weights_or_a_warning(tmp_path: Path, allowed: bool) -> None:
    path = write_llama(tmp_path / "model.gguf", "Q8_0")
    weights, locked, warned = json.loads(child(LOCKED, path, "allowed" if allowed else "refused"))
    if allowed:
        assert locked >= 0.9 * weights and not warned  # what is no matrix is not locked
    else:
        assert locked == 0 and len(warned) == 1 and "ulimit -l" in warned[0]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_loading_holds_the_weights_once(tmp_path: Path) -> None:
    path = write_llama(tmp_path / "model.gguf", "Q8_0", ff=16384, hidden=1024, layers=2)
    grown, weights = map(int, child(PEAK, path).split())
    assert weights > 100 << 20
    assert grown < 1.1 * weights + (16 << 20)
