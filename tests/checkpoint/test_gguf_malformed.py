"""Hostile GGUF files: each is refused with a CheckpointError that names the file, the place and the cause."""

from __future__ import annotations

import random
import re
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from gguf_bytes import ARRAY, BOOL, F32, F64, I32, STRING, U8, U32, U64, File, array, pair, string, tensor

from heron.checkpoint.checkpoint import Checkpoint
from heron.checkpoint.gguf_header import parse_header
from heron.errors import CheckpointError, HeronError

HUGE = (1 << 64) - 1


def with_pairs(*pairs: bytes, **fields: object) -> bytes:
    return File(pairs=list(pairs), **fields).bytes()  # type: ignore[arg-type]


def with_tensors(*tensors: bytes, **fields: object) -> bytes:
    return File(tensors=list(tensors), **fields).bytes()  # type: ignore[arg-type]


def bare(*pairs: bytes) -> bytes:
    """Without general.architecture."""
    return b"GGUF" + File(n_tensors=0, n_pairs=len(pairs), tensors=[]).bytes()[4:24] + b"".join(pairs) + bytes(64)


# The second says that it goes on for 2^64 - 1 bytes.
TWO_STRINGS = array(STRING, ["a"], length=2) + string(b"", length=HUGE)

# name: (bytes, what the message says); a number in the message is the offset at which the fault lies.
MALFORMED: dict[str, tuple[bytes, str]] = {
    # the head
    "empty": (b"", "empty"),
    "one byte": (b"G", "byte 0: the magic needs 4 bytes"),
    "magic only": (b"GGUF", "byte 4: the version needs 4 bytes"),
    "wrong magic": (File(magic=b"GGML").bytes(), "byte 0: begins with b'GGML'"),
    "zip": (b"PK\3\4" + bytes(100), "not a GGUF file"),
    "version 0": (File(version=0).bytes(), "byte 4: GGUF version 0"),
    "version 1": (File(version=1).bytes(), "byte 4: GGUF version 1 "),
    "version 4": (File(version=4).bytes(), "byte 4: GGUF version 4 "),
    "version 2^31": (File(version=1 << 31).bytes(), "byte 4: GGUF version"),
    "huge number of tensors": (File(n_tensors=HUGE).bytes(), f"byte 8: the number of tensors is {HUGE}"),
    "huge number of pairs": (File(n_pairs=HUGE).bytes(), f"byte 16: the number of metadata pairs is {HUGE}"),
    "one pair too many": (File(n_pairs=2, tensors=[], data=b"").bytes(), r"byte 69: a metadata key of 0 characters"),
    "one tensor too many": (File(n_tensors=3, data=b"", tensors=[tensor("a", (1,), 0, 0)] * 2, alignment=1).bytes(), "ends at byte"),
    "counts of the other byte order": (File(order=">", version=3).bytes()[:8] + File().bytes()[8:], "byte 8: the number of tensors"),
    # keys
    "huge key": (bare(string(b"", length=HUGE)), f"byte 24: the length of a metadata key is {HUGE}"),
    "key of 2^63": (bare(string(b"x", length=1 << 63)), "byte 24: the length of a metadata key"),
    "empty key": (with_pairs(pair("", U8, 1)), "metadata key of 0 characters"),
    "key too long": (with_pairs(pair("k" * 65536, U8, 1)), "metadata key of 65536 characters"),
    "key is not UTF-8": (with_pairs(pair(b"\xff\xfe", U8, 1)), "metadata key is not UTF-8"),
    "duplicate key": (with_pairs(pair("x", U8, 1), pair("x", U8, 1)), r"byte \d+: the metadata key 'x' occurs twice"),
    "duplicate architecture": (with_pairs(pair("general.architecture", STRING, "llama")), "'general.architecture' occurs twice"),
    # values
    "value type 13": (with_pairs(pair("x", 13, b"")), r"byte \d+: the type of 'x' is 13"),
    "value type 2^32 - 1": (with_pairs(pair("x", (1 << 32) - 1, b"")), "the type of 'x' is 4294967295"),
    "boolean of 2": (with_pairs(pair("x", BOOL, 2)), r"byte \d+: the boolean 'x' is 2"),
    "string is not UTF-8": (with_pairs(pair("x", STRING, string(b"\x80"))), "the value of 'x' is not UTF-8"),
    "huge string": (with_pairs(pair("x", STRING, string(b"abc", length=HUGE))), "the length of the value of 'x'"),
    "string to one byte after the end": (with_pairs(pair("x", STRING, string(b"", length=400))), "the length of the value of 'x' is 400"),
    # arrays
    "array of arrays": (with_pairs(pair("x", ARRAY, array(ARRAY, []))), "made of arrays"),
    "array of type 99": (with_pairs(pair("x", ARRAY, array(99, []))), "the element type of 'x' is 99"),
    "huge array of bytes": (with_pairs(pair("x", ARRAY, array(U8, [], length=HUGE))), "the length of the array 'x'"),
    "array of 2^61 doubles": (with_pairs(pair("x", ARRAY, array(F64, [], length=1 << 61))), "the length of the array 'x'"),
    "array of 2^62 ints": (with_pairs(pair("x", ARRAY, array(I32, [], length=1 << 62))), "the length of the array 'x'"),
    "array longer than the file": (with_pairs(pair("x", ARRAY, array(U32, [1], length=200))), "the length of the array 'x' is 200"),
    "huge array of strings": (with_pairs(pair("x", ARRAY, array(STRING, [], length=HUGE))), "the length of the array 'x'"),
    "array of strings, one of them huge": (with_pairs(pair("x", ARRAY, TWO_STRINGS)), "beyond the end"),
    "array of strings beyond the end": (with_pairs(pair("x", ARRAY, array(STRING, ["a"], length=20))), "byte .*array 'x'"),
    "array of strings, not UTF-8": (with_pairs(pair("x", ARRAY, array(STRING, [b"ok", b"\xc3("]))), "array 'x' has a string .* not UTF-8"),
    "array of booleans with a 7": (with_pairs(pair("x", ARRAY, array(BOOL, [0, 1, 7]))), "booleans holds 7"),
    # alignment
    "alignment 0": (with_pairs(pair("general.alignment", U32, 0)), "general.alignment is 0"),
    "alignment 1": (with_pairs(pair("general.alignment", U32, 1)), "general.alignment is 1"),
    "alignment 48": (with_pairs(pair("general.alignment", U32, 48)), "general.alignment is 48"),
    "alignment of another type": (with_pairs(pair("general.alignment", U64, 32)), "general.alignment is 32 .UINT64."),
    "alignment is a string": (with_pairs(pair("general.alignment", STRING, "32")), "general.alignment must be an integer"),
    "alignment is a boolean": (with_pairs(pair("general.alignment", BOOL, 1)), "general.alignment must be an integer"),
    "alignment beyond the file": (with_pairs(pair("general.alignment", U32, 1 << 31)), "cut short"),
    # tensors
    "duplicate tensor": (with_tensors(tensor("a", (4,), 0, 0), tensor("a", (4,), 0, 32)), r"byte \d+: the tensor name 'a' occurs twice"),
    "huge tensor name": (with_tensors(string(b"a", length=HUGE) + bytes(40)), "the length of a tensor's name"),
    "tensor name is not UTF-8": (with_tensors(tensor(b"\xf0\x28", (4,), 0, 0)), "tensor's name is not UTF-8"),
    "five dimensions": (with_tensors(tensor("a", (1,) * 5, 0, 0)), r"byte \d+: tensor 'a' has 5 dimensions"),
    "2^32 - 1 dimensions": (with_tensors(tensor("a", (1,), 0, 0, rank=(1 << 32) - 1)), "tensor 'a' has 4294967295 dimensions"),
    "dimension 0": (with_tensors(tensor("a", (4, 0), 0, 0)), r"impossible shape \[0, 4\]"),
    "dimension -1": (with_tensors(tensor("a", (HUGE,), 0, 0)), "impossible shape"),
    "dimension -2^63": (with_tensors(tensor("a", (1 << 63,), 0, 0)), "impossible shape"),
    "dimensions whose product is 2^64": (with_tensors(tensor("a", (1 << 32, 1 << 32), 0, 0)), "cut short"),
    "dimensions whose product is 2^64 + 4": (with_tensors(tensor("a", (4, 1 + (1 << 62)), 0, 0)), "cut short"),
    "dimensions whose bytes are 2^64": (with_tensors(tensor("a", (1 << 31, 1 << 31), 0, 0)), "cut short"),
    "type removed": (with_tensors(tensor("a", (32,), 4, 0)), r"byte \d+: tensor 'a': type 4 is not"),
    "type 2^32 - 1": (with_tensors(tensor("a", (4,), (1 << 32) - 1, 0)), "type 4294967295"),
    "row is not whole blocks": (with_tensors(tensor("a", (33,), 8, 0)), r"tensor 'a': a row of 33 elements cannot be Q8_0"),
    "rows are whole blocks only together": (with_tensors(tensor("a", (16, 2), 8, 0)), "a row of 16 elements cannot be Q8_0"),
    "offset off the alignment": (with_tensors(tensor("a", (4,), 0, 4)), "the offset 4 of tensor 'a' is not a multiple of the alignment 32"),
    "offset beyond the end": (with_tensors(tensor("a", (4,), 0, 1 << 20)), "cut short"),
    "offset that wraps": (with_tensors(tensor("a", (4,), 0, (1 << 64) - 32)), "cut short"),
    "one byte missing": (with_tensors(tensor("a", (4, 3), 0, 0), data=bytes(47)), "the file ends at byte .* cut short"),
    "no data": (File(data=b"").bytes(), "cut short"),
    "same place twice": (with_tensors(tensor("a", (4,), 0, 0), tensor("b", (4,), 0, 0)), "'a' and 'b' overlap"),
    "overlap": (with_tensors(tensor("b", (4,), 0, 32), tensor("a", (9,), 0, 0)), "'a' and 'b' overlap"),
    "cut in a name": (File().bytes()[:70], "ends at byte 70|bytes that follow"),
    # what a model must say
    "no architecture": (bare(pair("x", U8, 1)), "general.architecture is missing"),
    "architecture is a number": (bare(pair("general.architecture", U32, 7)), "general.architecture must be a string, but is 7"),
    "architecture is an array": (bare(pair("general.architecture", ARRAY, array(STRING, ["llama"]))), "but is an array of 1 strings"),
    "split count is a string": (with_pairs(pair("split.count", STRING, "two")), "split.count must be an integer"),
    "split count is negative": (with_pairs(pair("split.count", I32, -1)), "split.count must be an integer of at least 0"),
    "a shard whose name is no shard's": (with_pairs(pair("split.count", U32, 2), pair("split.no", U32, 0)), "its name does not say which"),
}  # fmt: skip


def test_the_table_is_long_enough() -> None:
    assert len(MALFORMED) >= 40


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed(name: str, tmp_path: Path) -> None:
    raw, message = MALFORMED[name]
    path = tmp_path / "model.gguf"
    path.write_bytes(raw)
    with pytest.raises(CheckpointError) as caught:
        Checkpoint(path)
    text = str(caught.value)
    assert str(path) in text
    assert re.search(message, text), text


def test_what_a_file_claims_is_not_allocated() -> None:
    tracemalloc.start()
    for raw, _ in MALFORMED.values():
        with suppress(CheckpointError):
            parse_header(np.frombuffer(raw, np.uint8), "claims")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_the_small_file_itself_is_well_formed(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    path.write_bytes(File().bytes())
    checkpoint = Checkpoint(path)
    assert checkpoint.architecture == "llama"
    np.testing.assert_array_equal(checkpoint.tensors["a"].numpy().view(np.uint8).ravel(), np.arange(48))
    assert checkpoint.tensors["b"].shape == (2, 32)


RICH = File(
    pairs=[
        pair("llama.block_count", U32, 2),
        pair("llama.eps", F32, 1e-5),
        pair("flag", BOOL, 1),
        pair("tokenizer.ggml.tokens", ARRAY, array(STRING, ["<s>", "a", "\u2581b"])),
        pair("tokenizer.ggml.scores", ARRAY, array(F32, [0.0, -1.0, -2.0])),
        pair("switches", ARRAY, array(BOOL, [1, 0])),
    ]
)


def test_truncation_at_every_byte() -> None:
    whole = np.frombuffer(RICH.bytes(), np.uint8)
    needed = len(whole) - 28  # the padding after the last tensor may be missing: some writers leave it out
    parse_header(whole[:needed], "whole")
    for size in range(needed):
        with pytest.raises(CheckpointError, match="cut"):
            parse_header(whole[:size], "cut")


def mutations(count: int, seed: int) -> list[bytes]:
    """The small file with a few bytes changed, taken out, put in or repeated; numbers are changed to nasty ones."""
    rng = random.Random(seed)
    base = RICH.bytes()
    nasty = [0, 1, 0x7F, 0x80, 0xFF]
    made = []
    for _ in range(count):
        raw = bytearray(base)
        for _ in range(rng.randint(1, 4)):
            at = rng.randrange(len(raw))
            match rng.randrange(6):
                case 0:
                    raw[at] = rng.randrange(256)
                case 1:
                    raw[at] = rng.choice(nasty)
                case 2:
                    raw[at : at + 8] = bytes([rng.choice(nasty)]) * 8
                case 3:
                    del raw[at : at + rng.randint(1, 9)]
                case 4:
                    raw[at:at] = raw[at : at + rng.randint(1, 40)]
                case 5:
                    raw[at] ^= 1 << rng.randrange(8)
            if not raw:
                raw = bytearray(b"G")
        made.append(bytes(raw))
    return made


def open_all(files: list[bytes]) -> int:
    """How many open; all others must be refused in our own words. What opens must be readable to the last byte."""
    opened = 0
    for raw in files:
        try:
            header = parse_header(np.frombuffer(raw, np.uint8), "fuzz")
        except HeronError:
            continue
        opened += 1
        assert all(t.offset > 0 and t.offset + t.nbytes <= len(raw) for t in header.tensors.values())
    return opened


def test_mutated_files() -> None:
    assert 0 < open_all(mutations(3000, seed=1)) < 3000


@pytest.mark.slow
def test_a_hundred_thousand_mutated_files_cost_little_memory() -> None:
    for seed in range(20):
        files = mutations(5000, seed=seed)
        tracemalloc.start()
        open_all(files)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 1 << 20, f"seed {seed}: {peak} bytes at most for files of {len(RICH.bytes())}"
