"""State on the reference backend: arrays of units (blocks of tokens, or slots), stored as ``kv_dtype`` says, read as f32."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from heron.backends.base import StateGroup
from heron.errors import BackendError, UnsupportedError
from heron.graph.graph import Field, Group, Model
from heron.quant.dequantize import dequantize
from heron.quant.formats import FORMATS
from heron.quant.rules import encode

Array = NDArray[np.float32]


class FieldStore:
    """One field of one state: ``entries`` places (tokens, or slots) of ``field.shape``."""

    def __init__(self, field: Field, entries: int, dtype: str) -> None:
        self.shape = field.shape
        self.dtype = dtype if field.dtype == "kv" else field.dtype
        if self.dtype == "q8_0":
            self.data = np.zeros((entries, *field.shape[:-1], _q8_0_bytes(field)), np.uint8)
        else:
            self.data = np.zeros((entries, *field.shape), np.float16 if self.dtype == "f16" else np.float32)

    def write(self, at: NDArray[np.intp], values: Array) -> None:
        """Store ``values[i]`` at place ``at[i]``."""
        with np.errstate(over="ignore"):
            self.data[at] = encode(FORMATS["Q8_0"], values) if self.dtype == "q8_0" else values

    def read(self, at: NDArray[np.intp]) -> Array:
        """[len(at), *shape] what is stored at those places, in f32."""
        data = self.data[at]
        return dequantize(FORMATS["Q8_0"], data) if self.dtype == "q8_0" else data.astype(np.float32)


def _q8_0_bytes(field: Field) -> int:
    if field.shape[-1] % 32:
        raise UnsupportedError(f"kv_dtype q8_0 needs rows of a multiple of 32, this model's have {field.shape[-1]}; use f16 or f32")
    return FORMATS["Q8_0"].row_bytes(field.shape[-1])


def field_bytes(field: Field, kv_dtype: str) -> int:
    """Bytes of one entry of a field."""
    dtype = kv_dtype if field.dtype == "kv" else field.dtype
    rows = int(np.prod(field.shape[:-1]))
    if dtype == "q8_0":
        return rows * _q8_0_bytes(field)
    return rows * field.shape[-1] * (2 if dtype == "f16" else 4)


def entries_per_unit(group: Group) -> int:
    return 1 if group.kind == "slot" else group.block_size


def state_groups(model: Model, kv_dtype: str) -> tuple[StateGroup, ...]:
    """What the engine must know of each group of the model's states."""
    groups = []
    for group in model.groups.values():
        entry = sum(field_bytes(f, kv_dtype) for s in model.states.values() if s.group == group.name for _, f in s.fields)
        groups.append(StateGroup(group.name, group.kind, entry * entries_per_unit(group), group.block_size, group.window))
    return tuple(groups)


class StateStore:
    """All states of a model, by name; copies, exports and imports units of a group."""

    def __init__(self, model: Model, kv_dtype: str, units: dict[str, int]) -> None:
        self.groups = model.groups
        self.fields: dict[tuple[str, str], FieldStore] = {}
        self._of_group: dict[str, list[FieldStore]] = {name: [] for name in self.groups}
        for state in model.states.values():
            group = self.groups[state.group]
            if group.name not in units:
                raise BackendError(f"allocate() says no number of units for group {group.name!r}")
            for name, field in state.fields:
                store = FieldStore(field, units[group.name] * entries_per_unit(group), kv_dtype)
                self.fields[state.name, name] = store
                self._of_group[group.name].append(store)

    def _span(self, group: str, unit: int) -> slice:
        per = entries_per_unit(self.groups[group])
        return slice(unit * per, (unit + 1) * per)

    def copy(self, group: str, source: int, destination: int) -> None:
        for store in self._of_group[group]:
            store.data[self._span(group, destination)] = store.data[self._span(group, source)]

    def export(self, group: str, units: Iterable[int]) -> bytes:
        return b"".join(store.data[self._span(group, unit)].tobytes() for unit in units for store in self._of_group[group])

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        at = 0
        for unit in units:
            for store in self._of_group[group]:
                part = store.data[self._span(group, unit)]
                if at + part.nbytes > len(data):
                    raise BackendError(f"the data for group {group!r} end at byte {len(data)}, before the last unit")
                part[...] = np.frombuffer(data, part.dtype, part.size, at).reshape(part.shape)
                at += part.nbytes
        if at != len(data):
            raise BackendError(f"the data for group {group!r} hold {len(data)} bytes, its units {at}")

    @property
    def nbytes(self) -> int:
        return sum(store.data.nbytes for store in self.fields.values())
