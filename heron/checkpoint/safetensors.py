"""safetensors files, mapped: a JSON head that says where each tensor lies, and the tensors.

Like a GGUF file, one is hostile until checked. Source: the safetensors format description.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

from heron.checkpoint.json_file import parse_object, read_object
from heron.checkpoint.mapping import MappedFile, ReadFile, map_file
from heron.checkpoint.tensor import Tensor
from heron.errors import CheckpointError, UnsupportedError
from heron.quant.formats import FORMATS

MAX_HEADER_BYTES = 32 << 20  # 100,000 tensors take some 12 MB; JSON in memory takes up to 20 times its length
MAX_DIMENSIONS = 8

# The format of each dtype that Heron reads, and the bits of every other that a file may also hold.
_PLAIN = ("F32", "F16", "BF16", "F64", "I8", "I16", "I32", "I64", "F8_E4M3", "F8_E5M2", "F8_E8M0")
_FORMATS = {name: FORMATS[name] for name in _PLAIN}
_OTHER_BITS = {"BOOL": 8, "U8": 8, "U16": 16, "U32": 32, "U64": 64, "C64": 64, "F4": 4}
_BITS = {name: 8 * fmt.bytes for name, fmt in _FORMATS.items()} | _OTHER_BITS

_AGAIN = "the file is damaged: download it again"


def read_safetensors(
    path: Path, wanted: Callable[[str], bool] = lambda name: True, packed: Callable[[str], bool] = lambda name: False, mapped: bool = True
) -> dict[str, Tensor]:
    """The tensors that `wanted` accepts, by name. All entries are checked, wanted or not.

    Of those that `packed` accepts bytes and words (U8, U32) are codes of a quantization: they are read as I8 and I32, and `rows` gives
    them as they are.
    Tensors are `mapped`, or read when they are asked for.

    Raises CheckpointError for a damaged file, UnsupportedError for a wanted tensor of a dtype that Heron does not read.
    """
    data = map_file(path)
    place = MappedFile(data) if mapped else ReadFile(path)
    if len(data) < 8:
        raise CheckpointError(f"{path}: {len(data)} bytes are too few for a safetensors file; {_AGAIN}")
    length = int.from_bytes(data[:8].tobytes(), "little")
    if length > min(len(data) - 8, MAX_HEADER_BYTES):
        raise CheckpointError(
            f"{path}: at byte 0: the header's length is {length}, but {len(data) - 8} bytes follow; "
            "this is no safetensors file, or it is cut short: download it again"
        )
    header = parse_object(data[8 : 8 + length].tobytes(), f"{path}: the header at byte 8")
    header.pop("__metadata__", None)
    data = data[8 + length :]
    tensors: dict[str, Tensor] = {}
    spans: list[tuple[int, int, str]] = []
    for name, entry in header.items():
        dtype, shape, start, stop = _check_entry(f"{path}: tensor {name!r}", entry, len(data))
        spans.append((start, stop, name))
        if wanted(name):
            if dtype in ("U8", "U32") and packed(name):
                dtype = dtype.replace("U", "I")
            if dtype not in _FORMATS:
                raise UnsupportedError(f"{path}: tensor {name!r} is of dtype {dtype}; Heron reads {', '.join(_FORMATS)}")
            if start == stop:
                raise CheckpointError(
                    f"{path}: tensor {name!r} of shape {list(shape)} is empty; the model was not saved whole: download it again"
                )
            begin = 8 + length + start
            tensors[name] = place.tensor(begin, begin + stop - start, shape, _FORMATS[dtype])
    _check_cover(path, spans, 8 + length, len(data))
    return tensors


def _check_entry(where: str, entry: Any, size: int) -> tuple[str, tuple[int, ...], int, int]:
    """One description, checked: (dtype, shape, start, stop) with start and stop from the beginning of the data."""
    if not isinstance(entry, dict) or not isinstance(entry.get("dtype"), str):
        raise CheckpointError(f"{where} has no dtype; {_AGAIN}")
    dtype, shape, offsets = entry["dtype"], _naturals(entry.get("shape")), _naturals(entry.get("data_offsets"))
    if dtype not in _BITS:
        raise CheckpointError(f"{where} is of dtype {dtype[:40]!r}, which safetensors do not have; {_AGAIN}")
    if shape is None or len(shape) > MAX_DIMENSIONS:
        raise CheckpointError(f"{where} has no valid shape; {_AGAIN}")
    if offsets is None or len(offsets) != 2:
        raise CheckpointError(f"{where} has no valid data_offsets; {_AGAIN}")
    start, stop = offsets
    if not start <= stop <= size:
        raise CheckpointError(f"{where} needs bytes {start} to {stop} of data that are {size} bytes long: the file is cut short; {_AGAIN}")
    if (stop - start) * 8 != prod(shape) * _BITS[dtype]:
        raise CheckpointError(f"{where} has {stop - start} bytes, which do not make {dtype} of shape {shape}; {_AGAIN}")
    return dtype, tuple(shape), start, stop


def _naturals(value: Any) -> list[int] | None:
    """The value, if it is a list of sizes or offsets."""
    valid = isinstance(value, list) and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 63 for v in value)
    return value if valid else None


def _check_cover(path: Path, spans: list[tuple[int, int, str]], offset: int, size: int) -> None:
    """The format wants every byte of the data to belong to exactly one tensor."""
    reached, last = 0, "the header"
    for start, stop, name in sorted(spans):
        if start != reached:
            fault = f"{last!r} and {name!r} overlap" if start < reached else f"bytes before {name!r} belong to no tensor"
            raise CheckpointError(f"{path}: at byte {offset + start}: {fault}; {_AGAIN}")
        reached, last = stop, name
    if reached != size:
        raise CheckpointError(f"{path}: at byte {offset + reached}: {size - reached} bytes after the last tensor belong to none; {_AGAIN}")


def read_folder(
    folder: Path, wanted: Callable[[str], bool] = lambda name: True, packed: Callable[[str], bool] = lambda name: False, mapped: bool = True
) -> tuple[dict[str, Tensor], list[Path]]:
    """The wanted tensors of a model's folder, and the files that they are in: one, or the shards that an index names.

    `packed` and `mapped` are as in `read_safetensors`.

    Raises CheckpointError where shards are missing or do not hold what the index says.
    """
    index = folder / "model.safetensors.index.json"
    whole = folder / "model.safetensors"
    if index.is_file() and not whole.is_file():
        return _read_shards(index, wanted, packed, mapped)
    files = [whole] if whole.is_file() else sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return read_safetensors(files[0], wanted, packed, mapped), files
    if files:
        raise CheckpointError(f"{folder}: {len(files)} safetensors files but no {index.name} to say what they hold; download it too")
    if any(folder.glob("*.bin")):
        raise UnsupportedError(f"{folder}: the weights are pickled (*.bin), which is not safe to open; save the model as safetensors")
    raise CheckpointError(f"{folder}: no *.safetensors file; this is not a model's folder, or its download is not complete")


def _read_shards(
    index: Path, wanted: Callable[[str], bool], packed: Callable[[str], bool], mapped: bool
) -> tuple[dict[str, Tensor], list[Path]]:
    places = read_object(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index}: no weight_map that says which shard holds which tensor; download it again")
    shards: dict[str, list[str]] = {}
    for name, file in places.items():
        # A plain name: an index from outside must not reach out of its folder.
        if not isinstance(file, str) or Path(file).name != file or "\\" in file or not file.endswith(".safetensors"):
            raise CheckpointError(f"{index}: tensor {name!r} is said to be in {str(file)[:80]!r}, which is no shard's name; {_AGAIN}")
        shards.setdefault(file, []).append(name)
    missing = [file for file in shards if not (index.parent / file).is_file()]
    if missing:
        some = ", ".join(missing[:3]) + (" ..." if len(missing) > 3 else "")
        raise CheckpointError(f"{index}: {len(missing)} of {len(shards)} shards are missing ({some}); download them into the same folder")
    tensors: dict[str, Tensor] = {}
    for file, names in shards.items():
        listed = set(names)
        found = read_safetensors(index.parent / file, lambda name, listed=listed: name in listed and wanted(name), packed, mapped)  # type: ignore[misc]
        absent = sorted(name for name in names if wanted(name) and name not in found)
        if absent:
            raise CheckpointError(
                f"{index.parent / file}: tensor {absent[0]!r} should be in this shard, but is not; "
                "the shards are swapped or of different models: download them again together"
            )
        tensors |= found
    return tensors, [index.parent / file for file in shards]
