"""State on the device: as the reference's (heron/backends/reference/state.py), byte for byte, in torch's memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from heron.backends.reference.state import entries_per_unit, field_bytes
from heron.backends.torch.decode import Q8_0, dequantize, quantize_q8_0
from heron.errors import BackendError
from heron.graph.graph import Field, Model


class FieldStore:
    """One field of one state: ``entries`` places (tokens, or slots) of ``field.shape``."""

    def __init__(self, field: Field, entries: int, kv_dtype: str, device: torch.device) -> None:
        self.shape = field.shape
        self.dtype = kv_dtype if field.dtype == "kv" else field.dtype
        if self.dtype == "q8_0":
            field_bytes(field, kv_dtype)  # refuses rows that are not whole blocks
            self.data = torch.zeros(entries, *field.shape[:-1], Q8_0.row_bytes(field.shape[-1]), dtype=torch.uint8, device=device)
        else:
            dtype = torch.float16 if self.dtype == "f16" else torch.float32
            self.data = torch.zeros(entries, *field.shape, dtype=dtype, device=device)

    def write(self, at: Tensor, values: Tensor) -> None:
        """Store ``values[i]`` at place ``at[i]``."""
        stored = quantize_q8_0(values.float()) if self.dtype == "q8_0" else values.to(self.data.dtype)
        self.data.index_copy_(0, at, stored)

    def read(self, at: Tensor, dtype: torch.dtype) -> Tensor:
        """[*at.shape, *shape] what is stored at those places."""
        data = self.data[at]
        return (dequantize(Q8_0, data) if self.dtype == "q8_0" else data).to(dtype)


class StateStore:
    """All states of a model, by name; copies, exports and imports units of a group."""

    def __init__(self, model: Model, kv_dtype: str, units: Mapping[str, int], device: torch.device) -> None:
        self.groups = model.groups
        self.fields: dict[tuple[str, str], FieldStore] = {}
        self._of_group: dict[str, list[FieldStore]] = {name: [] for name in self.groups}
        for state in model.states.values():
            group = self.groups[state.group]
            if group.name not in units:
                raise BackendError(f"allocate() says no number of units for group {group.name!r}")
            for name, field in state.fields:
                store = FieldStore(field, units[group.name] * entries_per_unit(group), kv_dtype, device)
                self.fields[state.name, name] = store
                self._of_group[group.name].append(store)

    def _unit(self, store: FieldStore, group: str, unit: int) -> Tensor:
        per = entries_per_unit(self.groups[group])
        return store.data[unit * per : (unit + 1) * per]

    def copy(self, group: str, source: int, destination: int) -> None:
        for store in self._of_group[group]:
            self._unit(store, group, destination).copy_(self._unit(store, group, source))

    def export(self, group: str, units: Iterable[int]) -> bytes:
        parts = [self._unit(store, group, unit) for unit in units for store in self._of_group[group]]
        return b"".join(part.cpu().numpy().tobytes() for part in parts)

    def import_(self, group: str, units: Iterable[int], data: bytes) -> None:
        at, raw = 0, np.frombuffer(data, np.uint8).copy()
        for unit in units:
            for store in self._of_group[group]:
                part = self._unit(store, group, unit)
                size = part.numel() * part.itemsize
                if at + size > len(data):
                    raise BackendError(f"the data for group {group!r} end at byte {len(data)}, before the last unit")
                part.copy_(torch.from_numpy(raw[at : at + size].copy()).view(part.dtype).reshape(part.shape))
                at += size
        if at != len(data):
            raise BackendError(f"the data for group {group!r} hold {len(data)} bytes, its units {at}")

    @property
    def nbytes(self) -> int:
        return sum(store.data.numel() * store.data.itemsize for store in self.fields.values())
